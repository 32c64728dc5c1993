"""The check runs both modes, holds them to their thresholds, and refuses what it cannot judge."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prompt_strategies.base import Rendered
from prompt_strategies.tokenise import decode, encode_prompts
from tests.needs_sandbox import needs_sandbox
from tools.backend import Generation
from tools.errors import UserError
from tools.files import sha256
from tools.prepared_rows import encode_entry
from tools.recipe import Recipe
from tools.sandbox import unavailable
from validation.check.check import (
    NOTHING,
    THRESHOLDS,
    _collapse,
    _share,
    _shares,
    _verdict,
    check,
    print_check,
    verdicts,
)
from validation.check.collapse import COLLAPSE
from validation.check.emulation import STATUSES, summarize, verify_emulation
from validation.check.measures import (
    EMULATOR_MEASURES,
    MEASURES,
    Judged,
    judge,
    judge_as,
    labels,
)
from validation.verdict import as_result, passed

CODE = "def add(a, b):\n    total = {}(a, b)\n    return {{'total': total, 'answer': total}}"
CALL = ">>> add(3, 4)"
OUTPUT = "{'total': 7, 'answer': 7}"


def row(number: int, helper: str = "plus") -> dict[str, str]:
    code = f"{CODE.format(helper)}\n\n{CALL}"
    return {
        "id": f"add-{number}",
        "instruction": "Add.",
        "input": f"3, 4, {number}",
        "code": code,
        "output": OUTPUT,
    }


def section(
    wrong: dict[str, int],
    *,
    mode: str = "reasoner",
    min_family: float | None = None,
    helper: str = "plus",
) -> dict[str, Any]:
    """The figures of one mode for 50 rows, of which some lack a measure."""
    judged, generations = [], []
    for number in range(50):
        made = row(number, helper)
        text = f"{made['code']}\n### Output\n{OUTPUT}"
        generations.append(Generation(f"{text} # {number}", 1, True))
        item = judge(made, Generation(text, 1, True))
        item.holds.update({name: False for name, count in wrong.items() if number < count})
        judged.append(item)
    emulations = verify_emulation([item.completion for item in judged], allow_code_execution=False)
    perfect = [Judged(item.row, item.generation, dict.fromkeys(MEASURES, True)) for item in judged]
    prompts = [item.row["input"] for item in judged]
    return {
        **_shares(judged, perfect, labels("program", mode), THRESHOLDS, min_family),
        "collapse": _collapse(prompts, generations, generations),
        "emulation": summarize(emulations),
    }


def passes(result: dict[str, Any], mode: str = "reasoner") -> bool:
    return passed(verdicts("program", mode, result))


@pytest.mark.parametrize("mode", ["reasoner", "emulator"])
@pytest.mark.parametrize("name", MEASURES)
def test_thresholds_are_met_exactly(mode: str, name: str) -> None:
    """49 of 50 are 98%; EOS asks for 99%. The emulator writes no program."""
    held_to = name in THRESHOLDS and name in labels("program", mode)
    allowed = 0 if name == "ends_by_eos" else 1 if held_to else 50
    assert passes(section({name: allowed}, mode=mode), mode)
    if held_to:
        result = section({name: allowed + 1}, mode=mode)
        assert not passes(result, mode) and not result["measures"][name]["passed"]


@pytest.mark.parametrize("threshold", ["0.98", "0.99", "0.55"])
def test_share_is_compared_as_exact_fractions_are(threshold: str) -> None:
    """In floats 0.55 * 100 is over 55."""
    for rows in (1, 50, 100, 150, 260, 300, 2000):
        for count in range(rows + 1):
            held = [number < count for number in range(rows)]
            passed = _share(held, [True] * rows, float(threshold))["passed"]
            assert passed is (Fraction(count, rows) >= Fraction(threshold))


def test_answers_are_counted_by_family_where_every_id_names_one() -> None:
    held = section({"answer_exact": 20}, min_family=0.6)
    add = held["answer_exact_by_family"]["add"]
    assert (add["count"], add["rows"], add["threshold"], add["passed"]) == (30, 50, 0.6, True)
    assert passes(held) and passes(section({"answer_exact": 21}))
    assert not passes(section({"answer_exact": 21}, min_family=0.6))
    judged = [judge(row(1) | {"id": name}, Generation("", 0, True)) for name in ("add-1", "2")]
    found = _shares(judged, judged, MEASURES, THRESHOLDS, None)
    assert found["answer_exact_by_family"] == {}


@pytest.fixture
def brief(recipe: Recipe) -> Recipe:
    """A recipe of two rows with a complete program, and room for few generated tokens."""
    path = Path(recipe.validation["path"])
    code = "def f(x):\n    return {'answer': x}\n\n>>> f(1)"
    rows = [
        {"id": f"f-{n}", "instruction": "Do.", "input": "x", "code": code, "output": "{}"}
        for n in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe.values["sequence_len"] = 50
    return recipe


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_check_writes_its_files_for_both_modes_and_then_for_one(brief: Recipe) -> None:
    both = check(brief, model_name="base", min_answer=0.9)
    assert json.loads((brief.output_dir / "check-base.json").read_text()) == both
    assert (both["model"], both["rows"], both["passed"]) == ("base", 2, False)
    assert both["measures"].keys() == MEASURES.keys()
    assert both["emulator"]["measures"].keys() == EMULATOR_MEASURES.keys()
    assert both["emulator"]["prompts_too_long"] == 0
    for part in (both, both["emulator"]):
        assert part["measures"]["answer_exact"]["threshold"] == 0.9
    keys = ["id", "instruction", "input", "generated", "tokens", "reference", "holds", "loop"]
    for name, parses in (("generations-base", False), ("generations-base-emulator", True)):
        written = lines(brief.output_dir / f"{name}.jsonl")
        assert [item["id"] for item in written] == ["f-0", "f-1"]
        for item in written:
            assert list(item) == [*keys, "emulation"]
            assert item["holds"]["program_parses"] is parses  # the emulator's is the row's own
    alone = check(brief, model_name="base", min_answer=0.9, mode="reasoner")
    own = [item for item in both["verdicts"] if item["section"] == "reasoner"]
    partial = "all 2 rows, reasoner alone"
    assert both | {"emulator": None, "verdicts": own, "partial": partial} == alone


@pytest.mark.parametrize(
    ("asked", "suffix", "partial"),
    [
        ({"limit": 1}, "-1-rows", "1 of 2 rows"),
        ({"mode": "reasoner"}, "-reasoner", "all 2 rows, reasoner alone"),
        ({"limit": 1, "mode": "reasoner"}, "-1-rows-reasoner", "1 of 2 rows, reasoner alone"),
        ({"temperature": 0.5, "seed": 3}, "-temperature-0.5-seed-3",
         "all 2 rows, temperature 0.5, seed 3"),
        ({"max_new_tokens": 90}, "-90-tokens", "all 2 rows, 90 new tokens at most"),
        ({"limit": 9, "seed": 3, "min_answer": 0.5}, "", ""),  # the whole, held to something else
    ],
)  # fmt: skip
def test_partial_check_has_its_own_files_and_leaves_the_whole(
    brief: Recipe, asked: dict[str, Any], suffix: str, partial: str
) -> None:
    brief.output_dir.mkdir(parents=True)
    names = ["check", "generations", "generations-emulator"]
    if suffix:
        for name in names:
            (brief.output_dir / f"{name}-base.json").write_text("the whole check's")
    result = check(brief, model_name="base", **asked)
    assert result["partial"] == partial
    kinds = names[: 2 if "mode" in asked else 3]
    written = {f"check-base{suffix}.json", *(f"{kind.replace('s', f's-base{suffix}', 1)}.jsonl"
               for kind in kinds[1:])}  # fmt: skip
    found = {path.name for path in brief.output_dir.iterdir()}
    assert found == written | ({f"{name}-base.json" for name in names} if suffix else set())
    if suffix:
        assert (brief.output_dir / "check-base.json").read_text() == "the whole check's"
    console = Console(record=True, width=140)
    print_check(result, console)
    assert ("A partial check: " + partial in console.export_text()) is bool(suffix)


def test_other_rows_with_examples_before_each_prompt(
    brief: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model writes after its answer, as one more example, is no part of it."""
    asked: list[str] = []

    def generate(model: Any, tokenizer: Any, prompts: list[str], **options: Any) -> Any:
        asked.extend(prompts)
        assert options["max_length"] > 50 + len(prompts[0]) // 8
        text = "def f(x):\n    return x\n\n### Instruction\nAgain.\n### Input\n"
        return [Generation(text, 9, False)] * len(prompts)

    monkeypatch.setattr("tools.generate.generate", generate)
    unseen = tmp_path / "unseen.jsonl"
    text = Path(brief.validation["path"]).read_text()
    unseen.write_text(text.replace("Do.", "Undo."))
    (tmp_path / "train.jsonl").write_text(text)
    brief.values["datasets"] = [{"path": str(tmp_path / "train.jsonl")}]
    result = check(brief, model_name="base", mode="reasoner", data=unseen, shots=2)
    example = "### Instruction\nDo.\n### Input\nx\n### Code\ndef f(x):\n    return {'answer': x}"
    example += "\n\n>>> f(1)\n### Output\n{}\n\n"
    assert asked == [2 * example + "### Instruction\nUndo.\n### Input\nx\n### Code\n"] * 2
    assert result["measures"]["ends_by_eos"]["count"] == 2
    [file] = brief.output_dir.glob("generations*")
    assert file.name == "generations-base-unseen-2-shots-reasoner.jsonl"
    assert {line["generated"] for line in lines(file)} == {"def f(x):\n    return x"}


def test_interrupted_check_leaves_what_was_there(
    brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted in the emulator's part, when the reasoner's is done."""
    check(brief, model_name="base")
    before = {path: path.read_bytes() for path in brief.output_dir.iterdir()}
    calls: list[int] = []

    def generate(model: Any, tokenizer: Any, prompts: list[str], **_: Any) -> list[Generation]:
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [Generation("other", 1, True)] * len(prompts)

    monkeypatch.setattr("tools.generate.generate", generate)
    with pytest.raises(KeyboardInterrupt):
        check(brief, model_name="base")
    assert {path: path.read_bytes() for path in brief.output_dir.iterdir()} == before


PROGRAM = "def f(x):\n    # Step 1: Look\n    {}\n\n>>> f(1)"
# rows on which a perfect model misses measure after measure, by what it writes and where
HARD: dict[str, list[dict[str, str]]] = {
    "cogex": [
        {"code": PROGRAM.format("return helper(x)"), "output": "{'answer': 1}"},
        {"code": PROGRAM.format("return {'n': 1}"), "output": "{'m': 1}"},
        {"code": PROGRAM.format("return {'n': (}"), "output": "no dict"},
        {"code": PROGRAM.format("out = {}\n    out[x] = 1\n    return out"), "output": "{1: 1}"},
        {"code": PROGRAM.format("return {'answer': x}"), "output": f"{{'answer': '{'a' * 900}'}}"},
        {"code": PROGRAM.format("return {'answer': x}"), "output": f"{{'answer': '{'b ' * 9}'}}"},
        {"code": "f = lambda x: {'answer': x}\n\n>>> f(1)", "output": "{'answer': 1}"},
    ],
    "nl_plan": [
        {"code": "def f(x):\n    return {'answer': x}\n\n>>> f(1)", "output": "text"},
        {"code": PROGRAM.format("return 1"), "output": "{'n': 1}"},
        {"code": PROGRAM.format("return 1"), "output": f"{{'answer': '{'b ' * 400}'}}"},
    ],
    "alpaca": [{"output": text} for text in ("Yes.", "Yes.", "  No\n", "no " * 9, "z" * 900, "?!")],
    "code": [
        {"prompt": "def f(x):\n", "solution": text}
        for text in ("    return x\n", "    return (\n", "    pass", "    x = 1\n" * 90)
    ],
}  # fmt: skip


def perfect(recipe: Recipe, strategy: str) -> Any:
    """Write what is trained, as far as the context goes: its ids, and no more than fit."""

    def generate(
        model: Any, tokenizer: Any, prompts: list[str], *, max_length: int, **_: Any
    ) -> list[Generation]:
        entry = recipe.validation | {"type": strategy}
        trained = [ids.tolist() for ids, _ in encode_entry(recipe, entry, tokenizer)]
        made = []
        for ids, prompt in zip(trained, encode_prompts(tokenizer, prompts), strict=True):
            rest = ids[len(prompt) : max_length]
            ended = rest[-1:] == [tokenizer.eos_token_id]
            text = decode(tokenizer, rest[: -1 if ended else None], prompt)
            full = len(prompt) >= max_length
            made.append(NOTHING if full else Generation(text, len(rest) - ended, ended))
        return made

    return generate


@pytest.mark.parametrize("kind", HARD)
def test_perfect_model_passes_whatever_the_data(
    recipe: Recipe, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of row misses a measure; a model that writes nothing fails all the same."""
    strategy = f"prompt_strategies.{kind}"
    recipe.values["sequence_len"] = 300
    recipe.validation["type"] = strategy
    rows = [{"id": f"{kind}-{number}", "instruction": "Do.", "input": f"x {number}", **row}
            for number, row in enumerate(HARD[kind])]  # fmt: skip
    rows.append(
        rows[0] | {"id": f"{kind}-9", "instruction": "Do " * 400, "prompt": "#" + "x " * 900 + "\n"}
    )
    Path(recipe.validation["path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("tools.generate.generate", perfect(recipe, strategy))
    result = check(recipe, model_name="base", min_answer=1.0, min_family=1.0)
    assert [row for row in result["verdicts"] if row["verdict"] == "fail"] == []
    assert result["passed"] and result["measures"].keys() == labels(result["task"]).keys()
    below = [item for item in result["measures"].values()
             if item["references"]["count"] < item["references"]["rows"]]  # fmt: skip
    assert len(below) >= 3  # the references miss these, and the model with them
    assert all(item["references"]["count"] == item["count"] for item in result["measures"].values())
    assert (result["emulator"] is None) is (kind != "cogex")
    silent = [Generation("", 0, True)] * len(rows)
    monkeypatch.setattr("tools.generate.generate", lambda *_, **__: silent)
    assert not check(recipe, model_name="base", min_answer=1.0)["passed"]
    print_check(result, Console(record=True))


def test_threshold_is_a_share_of_what_the_references_reach() -> None:
    def held(true: int, false: int, unknown: int = 0) -> list[bool | None]:
        return [True] * true + [False] * false + [None] * unknown

    references = held(90, 10, 20)
    for true, passes_ in ((90, True), (81, True), (80, False)):  # 90% of 90% are 81%
        found = _share(held(true, 100 - true, 5), references, 0.9)
        assert (found["passed"], found["rows"], found["not_judged"]) == (passes_, 100, 5)
    assert not _share(held(0, 0, 9), references, 0.9)["passed"]  # nothing of it could be judged
    assert _share(held(0, 9), held(0, 0, 9), 0.9)["passed"]  # there is nothing to hold it to
    text = [verdict.expected for verdict in (
        _verdict("", "x", _share(held(89, 11), references, 0.95)),
        _verdict("", "x", _share(held(89, 11), held(9, 0), 0.95)),
        _verdict("", "x", _share(held(89, 11), held(9, 1), None)),
    )]  # fmt: skip
    assert text == [
        "≥ 95% of the references' 90.0%", "≥ 95%, references 100.0%", "references 90.0%",
    ]  # fmt: skip


def test_collapse_is_what_goes_beyond_the_references() -> None:
    prompts = [str(number) for number in range(100)]
    yes = [Generation("yes", 1, True)] * 30
    other = [Generation(f"no {number}", 1, True) for number in range(100)]
    for same, passes_ in ((30, True), (35, True), (36, False)):
        made = [Generation("yes", 1, True)] * same + other[same:]
        found = _collapse(prompts, made, yes + other[30:])
        counts = found["identical"]["count"], found["identical"]["references"]["count"]
        assert counts == (same, 30)
        assert passes(section({}) | {"collapse": found}) is passes_


@pytest.mark.parametrize(
    ("task", "text", "lost"),
    [
        ("plan", "# Step 1: Look\n### Output\n{'n': 2, 'answer': 1}", set()),
        ("plan", "# Step 1: Look\n# Step 3: Go\n### Output\n{'n': 2, 'answer': 1}",
         {"numbered_steps"}),
        ("plan", "Look\n### Output\n{'answer': 2}",
         {"numbered_steps", "intermediates", "answer_exact"}),
        ("answer", " A red fox. ", set()),
        ("answer", "a red  fox", {"answer_exact"}),
        ("answer", "fox", {"answer_exact", "answer_normalised", "length"}),
        ("answer", "A red fox. " * 3, {"answer_exact", "answer_normalised", "length"}),
        ("code", "    return x + 1\n", set()),
        ("code", "    return (x+1)  # one", {"answer_exact"}),
        ("code", "    return x + 2", {"answer_exact", "answer_normalised"}),
        ("code", "    return (x + 2", {"answer_exact", "answer_normalised", "program_parses"}),
    ],
)  # fmt: skip
def test_each_task_is_judged_by_its_own_measures(task: Any, text: str, lost: set[str]) -> None:
    row = {"id": "1", "output": "{'n': 2, 'answer': 1}"}
    completion = {"answer": "A red fox.", "code": "    return x + 1"}.get(task, "")
    prompt = "def f(x):\n" if task == "code" else ""
    judged = judge_as(task, row, Rendered(prompt, completion, 0), Generation(text, 1, True))
    assert {name for name in labels(task) if judged.holds[name] is not True} == lost


def test_check_says_which_model_it_is_of(
    brief: Recipe, write_checkpoint, tiny_tokenizer: Any
) -> None:
    folder = write_checkpoint(brief.output_dir, 5)
    tiny_tokenizer.save_pretrained(folder)
    result = check(brief, model_name="checkpoint-5", mode="reasoner", limit=1)
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert result["model_sha256"] == {name: sha256(folder / name) for name in names}
    assert check(brief, model_name="base", mode="reasoner", limit=1)["model_sha256"] == {}


@needs_sandbox
@pytest.mark.parametrize("allowed", [False, True])
def test_complete_programs_run_with_consent_alone(
    allowed: bool, brief: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a trained model writes stands in for the random one's text."""

    def write(model: Any, tokenizer: Any, prompts: list[str], **options: Any) -> list[Generation]:
        program = "" if "def f" in prompts[0] else "def f(x):\n    return {'answer': -x}\n\n"
        text = f"{program}>>> f(1)\n### Output\n{{'answer': 1}}"
        return [Generation(text, 9, True) for _ in prompts]

    monkeypatch.setattr("tools.generate.generate", write)
    result = check(brief, model_name="base", allow_code_execution=allowed)
    found = [part["emulation"] for part in (result, result["emulator"])]
    assert [item["run"] for item in found] == ([2, 2] if allowed else [0, 0])
    # its own program returns -1, the given one 1
    faithful = [item["faithful"] for item in found]
    assert faithful == ([{"count": n, "of": 2} for n in (0, 2)] if allowed else
                        [{"count": 0, "of": 0}] * 2)  # fmt: skip


def test_prompt_that_fills_the_context_is_a_counted_failure(recipe: Recipe) -> None:
    recipe.values["sequence_len"] = 10  # tokens: fewer than any prompt here
    result = check(recipe, model_name="base", limit=3)
    for part in (result, result["emulator"]):
        assert (part["rows"], part["prompts_too_long"]) == (3, 3)
        assert {item["rows"] for item in part["collapse"].values()} == {0}  # of another kind
    assert all(item["count"] == 0 for item in result["measures"].values())
    print_check(result, Console(record=True))  # no share of no generations


def test_fewer_tokens_than_any_reference_takes_are_refused(recipe: Recipe) -> None:
    """Else each threshold would be a share of nothing, and a model that writes nothing pass."""
    with pytest.raises(UserError, match="ends within 3 new tokens, so that nothing could be"):
        check(recipe, model_name="base", limit=3, max_new_tokens=3)
    assert not list(recipe.output_dir.glob("*"))


@pytest.mark.parametrize("name", ["checkpoint-7", "", "../x"])
def test_model_that_is_not_there(recipe: Recipe, name: str) -> None:
    with pytest.raises(UserError, match="there is no such checkpoint; name best, base or"):
        check(recipe, model_name=name)


@pytest.mark.parametrize("kind", ["completion", "alpaca", None])
def test_rows_without_a_right_answer_are_refused(recipe: Recipe, kind: str | None) -> None:
    recipe.validation["type"] = kind
    with pytest.raises(UserError, match=rf"no right answer .*`type: {kind}`; `cogex select`"):
        check(recipe, model_name="base")


def test_row_without_a_call_is_named_before_anything_is_generated(recipe: Recipe) -> None:
    path = Path(recipe.validation["path"])
    path.write_text(path.read_text().replace(">>> ", ""))
    with pytest.raises(UserError, match=r"row count-0: the code has no call.*prepare` again"):
        check(recipe, model_name="base")


def test_machine_without_sandbox_is_told_before_anything_is_generated(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    unavailable.cache_clear()
    try:
        with pytest.raises(UserError, match=r"^--allow-code-execution: .* bwrap is not installed"):
            check(recipe, model_name="base", allow_code_execution=True)
    finally:
        unavailable.cache_clear()


def shown(reasoner: dict[str, Any], emulator: dict[str, Any] | None = None) -> str:
    rows = verdicts("program", "reasoner", reasoner)
    rows += verdicts("program", "emulator", emulator) if emulator else []
    console = Console(record=True, width=140)
    result = {
        "model": "best",
        "partial": "",
        "data_changed": [],
        **reasoner,
        "emulator": emulator,
        **as_result(rows),
    }
    print_check(result, console)
    return console.export_text()


def test_result_is_shown() -> None:
    reasoner = section({"output_dict": 9})
    reasoner["collapse"]["loops"] |= {"count": 7, "passed": False}
    text = shown(reasoner)
    for part in (
        *MEASURES.values(),
        *COLLAPSE.values(),
        *("best on 50 held-out rows", "reasoner", "41/50 (82.0%; 69 to 90)", "≥ 98%"),
        *("answer, add", "7/50 (14.0%; 7 to 26)", "≤ 1%", STATUSES["undefined"]),
        "reasoner, output is a dict: read what it wrote",
    ):
        assert part in text
    assert "emulator" not in text and "--allow-code-execution" not in text
    # all 50 leave a helper undefined; that is no 100% of anything that was verified
    end = text[text.index("Verified emulation") :]
    told = "0 of 50 programs complete: nothing to verify (50 leave names undefined)"
    assert end.startswith(f"Verified emulation, reasoner: {told}\n")
    assert "Right answers by undefined functions, reasoner: 1: 50/50 (100.0%; 93 to 100)" in end


@needs_sandbox
def test_both_modes_and_what_waits_for_consent_are_shown() -> None:
    reasoner = section({}, helper="max")
    text = shown(reasoner, section({}, mode="emulator"))
    assert "emulator" in text and EMULATOR_MEASURES["function_and_call"] in text
    assert "To run the 50 complete programs in a sandbox: --allow-code-execution" in text
    wrong = "\n### Output\n{'total': 7, 'answer': 4}"
    judged = [
        judge(made, Generation(made["code"] + wrong, 1, True))
        for made in (row(0, "max"), row(0, "min"), row(0, "plus"))
    ]
    reasoner["emulation"] = summarize(
        verify_emulation([item.completion for item in judged], allow_code_execution=True)
    )
    assert [shown(reasoner).count(share) for share in ("1/4", "0/2", "1/2")] == [1, 1, 1]
