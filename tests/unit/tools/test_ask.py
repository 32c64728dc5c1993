"""One question to a trained model, and what is said where there is none."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tools import answered_file
from tools.ask import Asking, ask, ask_file, print_answer
from tools.backend import NOTHING, Generation
from tools.errors import UserError
from tools.training.run_record import Record, write


def test_adapter_folder_answers_on_its_base(
    tiny_tokenizer, tmp_path: Path, write_adapter, tiny_base: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter-v1.0")  # a name with a dot
    tiny_tokenizer.save_pretrained(folder)
    answer = ask(folder, "Add.", "1 and 2", Asking(max_new_tokens=20))
    assert answer == ask(folder, "Add.", "1 and 2", Asking(max_new_tokens=20))
    assert answer != ask(tiny_base, "Add.", "1 and 2", Asking(max_new_tokens=20))


ALPACA = "### Instruction:\nAdd.\n\n### Input:\n1\n\n### Response:\n"
CODE = "    return 1\n"
PLANNED = "# Step 1: Add\n### Output\n{'answer': 2}"
PROGRAM = "def add(a):\n    return {'answer': a}"


@pytest.mark.parametrize(
    ("kind", "prompt", "written", "parts"),
    [
        ("prompt_strategies.cogex", "\n### Code\n",
         f"{PROGRAM}\n\n>>> add(1)\n### Output\n{{'answer': 1}}",
         {"program": PROGRAM, "call": ">>> add(1)", "output": "{'answer': 1}"}),
        ("prompt_strategies.nl_plan", "\n### Plan\n", PLANNED,
         {"plan": "# Step 1: Add", "output": "{'answer': 2}"}),
        ("alpaca", ALPACA, " 2\n", {"answer": "2"}),
        ("completion", "Add.", CODE, {"solution": CODE}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["r.yml", "run", "run/best"])
def test_model_is_asked_in_the_layout_of_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, prompt: str, written: str,
    parts: dict[str, str], name: str,
) -> None:  # fmt: skip
    def generate(model, tokenizer, prompts, **options) -> list[Generation]:
        assert prompts[0].endswith(prompt)
        return [Generation(written, 9, True)]

    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512))
    monkeypatch.setattr("tools.generate.generate", generate)
    monkeypatch.setattr("tools.models.load_trained", lambda target: (model, None))
    values = {"datasets": [{"path": "train.jsonl", "type": kind}]}
    (tmp_path / "r.yml").write_text(json.dumps(values))
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", Record(recipe=values, files={}, facts={}, versions={}))
    assert ask(tmp_path / name, "Add.", "1") == parts


@pytest.mark.parametrize(
    ("kind", "instruction", "said"),
    [
        ("chat_template", "Add.", "r.yml: how `type: chat_template` asks is not known here"),
        ("prompt_strategies.code", " \n", "the instruction is empty"),
    ],
)
def test_what_cannot_be_asked_is_said_before_a_model_is_loaded(
    tmp_path: Path, kind: str, instruction: str, said: str
) -> None:
    entry = {"path": "train.jsonl", "type": kind}
    (tmp_path / "r.yml").write_text(json.dumps({"datasets": [entry]}))
    with pytest.raises(UserError, match=said):
        ask(tmp_path / "r.yml", instruction)


def test_prompt_that_is_too_long(tiny_base: Path) -> None:
    with pytest.raises(UserError, match="fills the 512 tokens that the model takes; shorten it"):
        ask(tiny_base, "word " * 600)


def test_parts_are_shown_apart() -> None:
    console = Console(record=True, width=60)
    print_answer({"program": "def f(): [bold]", "call": ">>> f()", "output": ""}, console)
    text = console.export_text()
    for part in ("program", "def f(): [bold]", "call", ">>> f()", "output", "(nothing)"):
        assert part in text


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the model was asked at a time; it answers with the row's own words."""
    asked: list[int] = []

    def generate(model, tokenizer, prompts, **options) -> list[Generation]:
        asked.append(len(prompts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        texts = [prompt.split("### Input:\n")[1].split("\n")[0] for prompt in prompts]
        return [Generation(text, 1, True) if text != "7" else NOTHING for text in texts]

    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512))
    monkeypatch.setattr("tools.generate.generate", generate)
    monkeypatch.setattr("tools.models.load_trained", lambda target: (model, None))
    monkeypatch.setattr(answered_file, "ROWS", 4)
    return asked


def test_file_is_answered_in_its_order_and_goes_on_where_it_was_killed(
    tmp_path: Path, answered: list[int]
) -> None:
    (tmp_path / "r.yml").write_text(json.dumps({"datasets": [{"path": "x", "type": "alpaca"}]}))
    rows = [{"instruction": "Say it.", "input": str(number)} for number in range(10)]
    inputs, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    inputs.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(KeyboardInterrupt):
        ask_file(tmp_path / "r.yml", inputs, out)
    with out.open("a") as file:
        file.write('{"instruction": "half')
    assert ask_file(tmp_path / "r.yml", inputs, out) == 2 and answered == [4, 4, 2, 2]
    made = _lines(out)
    assert [{key: line[key] for key in rows[0]} for line in made] == rows
    assert "fills the 512 tokens" in made.pop(7)["no_text"]
    assert all(line["answer"] == line["input"] for line in made)
    assert ask_file(tmp_path / "r.yml", inputs, out) == 0
    inputs.write_text('{"instruction": "Another."}\n' + inputs.read_text())
    with pytest.raises(UserError, match=r"out\.jsonl, line 1: answers another input"):
        ask_file(tmp_path / "r.yml", inputs, out)


@pytest.mark.parametrize("line", ["[1]", '{"input": "1"}', '{"instruction": 1}', "{", "null"])
def test_line_that_is_no_question_is_named_before_a_model_is_loaded(
    tmp_path: Path, answered: list[int], line: str
) -> None:
    (tmp_path / "r.yml").write_text(json.dumps({"datasets": [{"path": "x", "type": "alpaca"}]}))
    (tmp_path / "in.jsonl").write_text('{"instruction": "Add."}\n\n' + line)
    with pytest.raises(UserError, match=r"in\.jsonl, line 3: is not a line as"):
        ask_file(tmp_path / "r.yml", tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not answered and not (tmp_path / "out.jsonl").exists()
