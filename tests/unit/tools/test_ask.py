"""One question to a trained model, and what is said where there is none."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tools import ask as module
from tools.ask import ask, print_answer
from tools.errors import UserError
from tools.generate import Generation

GENERATED = "def add(a):\n    return {'answer': a}\n\n>>> add(1)\n### Output\n{'answer': 1}"


def test_adapter_folder_answers_on_its_base(
    tiny_tokenizer, tmp_path: Path, write_adapter, tiny_base: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter-v1.0")  # a name with a dot
    tiny_tokenizer.save_pretrained(folder)
    answer = ask(folder, "Add.", "1 and 2", max_length=60)
    assert answer == ask(folder, "Add.", "1 and 2", max_length=60)
    assert answer != ask(tiny_base, "Add.", "1 and 2", max_length=60)


def test_generation_is_split_into_its_parts(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(model, tokenizer, prompts, **options) -> list[Generation]:
        assert prompts == ["### Instruction\nAdd.\n### Input\n1\n### Code\n"]
        return [Generation(GENERATED, 9, True)]

    monkeypatch.setattr(module, "generate", generate)
    program = "def add(a):\n    return {'answer': a}"
    parts = {"program": program, "call": ">>> add(1)", "output": "{'answer': 1}"}
    assert ask(tiny_base, "Add.", "1") == parts


@pytest.mark.parametrize(
    ("kind", "prompt", "written", "parts"),
    [
        (
            "alpaca",
            "### Instruction:\nAdd.\n\n### Input:\n1\n\n### Response:\n",
            " 2\n",
            {"answer": "2"},
        ),
        (
            "nl_plan",
            "### Instruction\nAdd.\n### Input\n1\n### Plan\n",
            "# Step 1: Add\n### Output\n{'answer': 2}",
            {"plan": "# Step 1: Add", "output": "{'answer': 2}"},
        ),
        ("code", "Add.", "    return 1\n", {"solution": "    return 1\n"}),
    ],
)
def test_recipe_of_another_task_is_asked_in_its_own_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, prompt: str, written: str, parts
) -> None:
    def generate(model, tokenizer, prompts, **options) -> list[Generation]:
        assert prompts[0].endswith(prompt)
        return [Generation(written, 9, True)]

    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512))
    monkeypatch.setattr(module, "generate", generate)
    monkeypatch.setattr(module, "load_trained", lambda target: (model, None))
    entry = {"path": "train.jsonl", "type": f"prompt_strategies.{kind}"}
    (tmp_path / "r.yml").write_text(json.dumps({"datasets": [entry]}))
    assert ask(tmp_path / "r.yml", "Add.", "1") == parts


def test_prompt_that_is_too_long(tiny_base: Path) -> None:
    with pytest.raises(UserError, match="fills the 512 tokens that the model takes; shorten it"):
        ask(tiny_base, "word " * 600)


def test_parts_are_shown_apart() -> None:
    console = Console(record=True, width=60)
    print_answer({"program": "def f(): [bold]", "call": ">>> f()", "output": ""}, console)
    text = console.export_text()
    for part in ("program", "def f(): [bold]", "call", ">>> f()", "output", "(nothing)"):
        assert part in text
