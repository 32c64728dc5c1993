"""Completions are scored by the published rules, and every one of them is in the result."""

import gzip
import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from cogex import app
from tests.needs_sandbox import needs_sandbox
from tests.unit.conftest import WriteAdapter
from tools.backend import Generation
from tools.code.tasks import MINI, own_tasks
from tools.code.trial import Tried
from tools.errors import UserError
from tools.recipe import Recipe, read_recipe
from validation.code import samples
from validation.code.codebench import (
    _by_category,
    codebench,
    decision,
    print_codebench,
    trained_on,
)
from validation.code.pass_at_k import pass_at_k, summarise
from validation.code.samples import Sample, Sampling, Suite, cut, is_python

ADD, *_ = TASKS = own_tasks(MINI)


def write_samples(path: Path, samples: list[tuple[Any, str]]) -> Path:
    lines = [json.dumps({"task_id": name, "completion": text}) for name, text in samples]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("number", [10, 13])
def test_pass_at_k_is_the_share_of_draws_with_a_right_sample(number: int) -> None:
    """Over all draws of k samples, counted out."""
    for right in range(number + 1):
        passed = [True] * right + [False] * (number - right)
        found = pass_at_k({"task": passed})
        assert found.keys() == {"1", "10"}
        for k in (1, 10):
            draws = list(combinations(passed, k))
            assert found[str(k)] == sum(map(any, draws)) / len(draws)


def test_pass_at_k_is_the_mean_over_tasks_not_over_samples() -> None:
    assert pass_at_k({"a": [True], "b": [False] * 9}) == {"1": 0.5}


def test_pass_at_k_of_mbpp_is_about_its_test_split() -> None:
    tasks = [replace(ADD, id=f"mbpp_{number}", task_id=number) for number in range(1, 975)]
    about = {task.id for task in samples.reported(tasks)}
    assert about == {f"mbpp_{number}" for number in range(11, 511)}
    made = [(task.id, "passed" if task.id not in about else "wrong", None) for task in tasks]
    found = summarise("x", [task.id for task in tasks], made, valid=0, ks=(1,), reported=about)
    assert (found["tasks_passed"], found["pass_at_k"]) == (474, {"1": 0.0})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    return 1\n\ndef g():\n    pass", "    return 1\n"),
        ("    return 1\nprint(f(1))\nclass A:", "    return 1"),
        ("    define = 1\n    return define\nif x:", "    define = 1\n    return define"),
        ("", ""),
    ],
)
def test_completion_is_cut_where_something_new_begins(text: str, kept: str) -> None:
    assert cut(text) == kept


@pytest.mark.parametrize(
    ("completion", "valid"),
    [("    return a\n", True), ("    return (a\n", False), ("return a\n", False), ("\n", False),
     ("    return '\0'", False), ("    # nothing\n", True)],
)  # fmt: skip
def test_valid_syntax_is_of_the_program_and_not_blank(completion: str, valid: bool) -> None:
    assert is_python(Sample(ADD, completion)) is valid


ODD = "    return a + b\n" + "#" * 20_000_000  # its loops are searched for in its beginning
SAMPLES = [
    ("mini/add", "    return a + b\n", "passed"),
    ("mini/add", "    return a - b\n", "wrong"),
    ("mini/gcd", "    while b\n", "syntax"),
    ("mini/gcd", "    raise ValueError\n", "exception"),
    ("mini/is_even", "    return n % 2 == 0\nprint(1)", "passed"),
    ("mini/is_even", "def is_even(n):\n    return not n % 2\n", "passed"),
    # that no file or sandbox takes: half a character, many megabytes, an error that says half a one
    ("mini/add", "    return '\ud800'\n", "exception"),
    ("mini/add", ODD, "too_long"),
    ("mini/add", "    raise ValueError(chr(0xd800))\n", "exception"),
]


@needs_sandbox
def test_samples_of_a_file_are_scored_one_by_one(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "mine.jsonl", [(name, text) for name, text, _ in SAMPLES])
    result = codebench(None, "mini", samples=path, out=tmp_path / "out", allow_code_execution=True)
    assert [(line["task_id"], line["result"]) for line in result["results"]] == [
        (name, kind) for name, _, kind in SAMPLES
    ]
    [model] = result["models"]
    assert model["pass_at_k"] == {}  # of three tasks it would be no figure of the suite
    assert (model["tasks_passed"], model["tasks_attempted"], model["syntax_valid"]) == (2, 3, 7)
    assert model["failures"] == {"wrong": 1, "exception": 3, "syntax": 1, "too_long": 1}
    assert "length_limit" not in model["collapse"]
    assert json.loads((tmp_path / "out/codebench-mini.json").read_text()) == result
    kept = [json.loads(line) for line in (tmp_path / "out/codebench-mini-mine.jsonl").open()]
    assert [line["completion"] for line in kept[:6]] == [text for _, text, _ in SAMPLES[:6]]
    assert kept[6]["completion"] == "    return '\\ud800'\n"
    assert kept[8]["detail"] == "ValueError: ?"
    console = Console(record=True, width=100)
    print_codebench(result, console)
    shown = console.export_text()
    assert "17 of the 20 tasks have no sample, so there is no pass@k" in shown and "2/20" in shown
    assert "taken out" not in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "mini/no", "completion": ""}', "sample 1: the suite has no task 'mini/no'"),
        ('{"task_id": "mini/add", "completion": 1}', "sample 1: is not an object with a `task_id`"),
        ("{", "is not valid JSON"),
        ("", "holds no rows"),
    ],
)
@needs_sandbox
def test_file_that_holds_no_samples_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(UserError, match=message):
        codebench(None, "mini", samples=path, out=tmp_path, allow_code_execution=True)
    assert not (tmp_path / "codebench-mini.json").exists()


@needs_sandbox
@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (None, {}, "name one of the two"),
        (Path("x"), {"samples": Path("y")}, "name one of the two"),
        (Path("x"), {"model_name": "all"}, "--model all names a model of a run"),
        (Path("x"), {"sampling": Sampling(samples=2)}, "-n 2 at temperature 0 makes the same"),
        (Path("x"), {"data": Path("y")}, "--data: the mini suite comes with this project"),
        (Path("x"), {"seconds": math.nan}, "--timeout nan: must be a number of seconds above 0"),
        (Path("x"), {"allow_code_execution": False}, "if you agree, pass --allow-code-execution"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    target: Path | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        codebench(target, "mini", **{"allow_code_execution": True} | options)


@needs_sandbox
def test_samples_of_a_model_stand_beside_their_task(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny base, with other words in its mouth."""
    wrong = ["    pass\n", "    return None\n"]
    right = "    import math\n    return math.gcd(a, b)\nprint("
    texts = {ADD.prompt: wrong, TASKS[1].prompt: wrong, TASKS[-1].prompt: ["    pass\n", right]}

    def write(model: Any, tokenizer: Any, prompts: list[str], **_: Any) -> list[Generation]:
        left = {prompt: list(each) for prompt, each in texts.items()}
        return [Generation(left[prompt].pop(0), 3, True) for prompt in prompts]

    monkeypatch.setattr("tools.generate.generate", write)
    monkeypatch.setattr(samples, "own_tasks", lambda _: (ADD, TASKS[1], TASKS[-1]))
    result = codebench(
        tiny_base,
        "mini",
        sampling=Sampling(samples=2, temperature=0.8),
        out=tmp_path,
        allow_code_execution=True,
    )
    assert [(line["task_id"], line["passed"]) for line in result["results"]] == [
        *(("mini/add", False), ("mini/add", False)),
        *(("mini/subtract", False), ("mini/subtract", False)),
        *(("mini/gcd", False), ("mini/gcd", True)),
    ]
    [model] = result["models"]
    assert model["pass_at_k"] == {"1": 0.5 / 3} and model["syntax_valid"] == 6
    assert model["collapse"]["identical"]["count"] == 2
    kept = (tmp_path / f"codebench-mini-{tiny_base.name}.jsonl").read_text().splitlines()
    assert json.loads(kept[-1])["generated"].endswith("print(")


@needs_sandbox
def test_model_writes_and_prompt_that_fills_its_context_is_a_failure(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny base itself; it has not learned Python's benchmarks."""
    long = replace(ADD, id="long", task_id="long", prompt=f"{'# long' * 3000}\n{ADD.prompt}")
    longer = replace(ADD, id="longer", task_id="longer", prompt=f"{'# long' * 20}\n{ADD.prompt}")
    monkeypatch.setattr(samples, "own_tasks", lambda _: (ADD, long, longer))
    sampling = Sampling(max_new_tokens=5)
    result = codebench(
        tiny_base, "mini", sampling=sampling, out=tmp_path, allow_code_execution=True
    )
    kinds = [line["result"] for line in result["results"]]
    assert kinds[1] == "prompt_too_long" and "prompt_too_long" not in (kinds[0], kinds[2])
    assert not any(line["passed"] for line in result["results"])
    [(_, make)] = samples.model_sources(None, tiny_base, "best", sampling)
    assert [sample.written.tokens for sample in make([ADD, long, longer])] == [5, 0, 5]


@needs_sandbox
def test_every_checkpoint_of_a_run_stands_in_the_trend(
    recipe: Recipe,
    write_checkpoint: WriteAdapter,
    tiny_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(samples, "own_tasks", lambda _: TASKS[:2])
    for step in (10, 2, 30):
        tiny_tokenizer.save_pretrained(write_checkpoint(recipe.output_dir, step))
    (recipe.output_dir / "checkpoint-30/adapter_model.safetensors").unlink()
    result = codebench(
        recipe.path,
        "mini",
        model_name="all",
        sampling=Sampling(max_new_tokens=12),
        allow_code_execution=True,
    )
    names = ["base", "checkpoint-2", "checkpoint-10"]
    assert [model["name"] for model in result["models"]] == names
    assert [line["model"] for line in result["results"]] == [name for name in names for _ in "12"]
    written = {
        (recipe.output_dir / f"codebench-mini-{name}.jsonl").read_text().split('"generated"')[1]
        for name in names
    }
    assert len(written) == 3  # each has written its own
    assert [item["name"] for item in result["left_out"]] == ["checkpoint-30"]
    console = Console(record=True, width=100)
    print_codebench(result, console)
    assert "checkpoint-30 is left out: incomplete" in console.export_text()


@needs_sandbox
def test_checkpoints_are_scored_as_training_writes_them_to_the_end_of_the_run(
    recipe: Recipe,
    write_checkpoint: WriteAdapter,
    tiny_tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run writes a checkpoint while one waits, another half, and then ends."""
    monkeypatch.setattr(samples, "own_tasks", lambda _: TASKS[:2])
    ended, looks = [False], list[int]()

    def wait(_: float) -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            tiny_tokenizer.save_pretrained(write_checkpoint(recipe.output_dir, 2))
            half = write_checkpoint(recipe.output_dir, 10)
            (half / "adapter_model.safetensors").rename(half / "half")
        elif len(looks) == 2:
            half = recipe.output_dir / "checkpoint-10"
            (half / "half").rename(half / "adapter_model.safetensors")
            ended[0] = True

    monkeypatch.setattr(samples, "time", SimpleNamespace(sleep=wait))
    monkeypatch.setattr(samples, "read_run", lambda _: SimpleNamespace(ended=ended[0]))
    told: list[str] = []
    result = codebench(
        recipe.path, "mini", follow=True, tell=told.append,
        sampling=Sampling(max_new_tokens=5), allow_code_execution=True,
    )  # fmt: skip
    names = ["base", "checkpoint-2", "checkpoint-10"]
    assert [model["name"] for model in result["models"]] == names
    assert [line.split(":")[0] for line in told] == names and len(looks) == 2
    with pytest.raises(UserError, match="--follow waits for the checkpoints of a run"):
        codebench(recipe.output_dir, "mini", follow=True, allow_code_execution=True)


def test_every_task_of_the_mini_suite_has_a_category_and_its_line_in_the_table() -> None:
    assert {task.category for task in TASKS} == {
        "arithmetic", "conditionals", "lists", "strings", "algorithms",
    }  # fmt: skip
    right = [Sample(task, task.solution) for task in TASKS[:7]]
    made = [*right, *(Sample(task, "    return None\n") for task in TASKS[7:])]
    kinds = [Tried("passed" if sample in right else "wrong") for sample in made]
    found = _by_category(TASKS, made, kinds)
    assert sum(counts["tasks"] for counts in found.values()) == len(TASKS) == 20
    assert sum(counts["solved"] for counts in found.values()) == 7
    assert _by_category([replace(ADD, category="")], [], []) == {}


@pytest.mark.parametrize(
    ("solved", "says"),
    [(20, "reached"), (5, "reached"), (4, "in part"), (1, "in part"), (0, "larger base")],
)  # fmt: skip
def test_the_plans_decision_is_told(solved: int, says: str) -> None:
    assert says in decision(solved) and f"at {solved} of 20" in decision(solved)
    assert ("1,000 rows" in decision(solved)) is (1 <= solved <= 4)


def recipe_over(rows: list[dict[str, str]], folder: Path) -> Path:
    train = folder / "train.jsonl"
    train.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    entry = {"path": str(train), "ds_type": "json", "type": "prompt_strategies.code"}
    path = folder / "recipe.yml"
    path.write_text(yaml.safe_dump({"datasets": [entry]}))
    return path


def test_tasks_that_were_trained_on_are_named(tmp_path: Path) -> None:
    """By name, body or words; a row that is no function by its whole text."""
    gcd = next(task for task in TASKS if task.entry_point == "gcd")
    script = replace(ADD, id="script", prompt="x = 1\n", solution="print(x)\n")
    rows = [
        gcd.row | {"id": "x", "prompt": gcd.prompt.replace("gcd", "divide")},
        {"id": "y", "prompt": "def other(x):\n", "solution": "    return [x, 1]\n"},
        script.row | {"id": "a"},
        {"id": "b", "prompt": "def f(:\n", "solution": ""},
    ]
    recipe = read_recipe(recipe_over(rows, tmp_path))
    assert trained_on(recipe, [*TASKS, script]) == ["mini_gcd", "script"]
    (tmp_path / "train.jsonl").unlink()
    assert trained_on(recipe, TASKS) == []


TASK = {
    "task_id": "shop/0",
    "prompt": "def price():\n",
    "canonical_solution": "    return 1",
    "test": "def check(candidate):\n    assert candidate() == 1",
    "entry_point": "price",
}


def shop(tmp_path: Path, *lines: dict[str, Any], task: dict[str, Any] = TASK) -> tuple[Path, Path]:
    """Write a task and samples of it, unless they name another."""
    data, made = tmp_path / "shop.jsonl", tmp_path / "made.jsonl"
    data.write_text(json.dumps(task))
    rows = [{"task_id": task["task_id"]} | line for line in lines]
    made.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return data, made


def scored(
    data: Path, made: Path, suite: Suite = "humaneval", **options: Any
) -> tuple[dict[str, Any], str]:
    result = codebench(
        None, suite, data=data, samples=made, out=made.parent, allow_code_execution=True, **options
    )
    console = Console(record=True, width=200)
    print_codebench(result, console)
    return result, console.export_text()


@needs_sandbox
def test_samples_like_human_evals_own_example_give_what_its_evaluator_gives(tmp_path: Path) -> None:
    """Its README: of six samples three pass, which start a process, sleep, ask or return."""
    sleeps = "    import time\n    time.sleep(10)\n    return 1"
    texts = ["    import os\n    os.fork()", sleeps, "    return int(input('price'))",
             "    return 1", "  return 1", "\treturn 1"]  # fmt: skip
    result, shown = scored(*shop(tmp_path, *({"completion": text} for text in texts)))
    assert [line["result"] for line in result["results"]] == [
        *("exception", "timeout", "exception"), *["passed"] * 3
    ]  # fmt: skip
    assert result["models"][0]["pass_at_k"] == {"1": 0.5}
    assert result["seconds"] == 3.0 and "3 s of the clock; rules of openai/human-eval" in shown


@needs_sandbox
def test_timeout_is_the_clock_of_a_program(tmp_path: Path) -> None:
    sleeper = {"completion": "    import time\n    time.sleep(1)\n    return 1"}
    result, _ = scored(*shop(tmp_path, sleeper), seconds=0.5)
    assert (result["results"][0]["result"], result["seconds"]) == ("timeout", 0.5)


PROGRAM = "def price():\n    return 1"
FENCED = "Here it is:\n```python\nPROGRAM\n```\nIt returns one."
# a line, what becomes of it as it stands, and with the program taken out
FORMS: list[tuple[dict[str, Any], str, str | None]] = [
    ({"completion": "    return 1"}, "passed", None),
    ({"solution": PROGRAM}, "passed", None),
    ({"solution": PROGRAM, "completion": "    return 2"}, "passed", None),
    ({"solution": None, "completion": "    return 1"}, "passed", None),
    ({"completion": PROGRAM}, "syntax", "passed"),  # it repeats the prompt, which has no docstring
    ({"completion": FENCED.replace("PROGRAM", PROGRAM)}, "syntax", "passed"),
    ({"completion": FENCED.replace("PROGRAM", "    return 1")}, "syntax", "passed"),
    ({"completion": FENCED.replace("PROGRAM", "    return 2")}, "syntax", "wrong"),
    ({"solution": FENCED.replace("PROGRAM", PROGRAM)}, "syntax", "passed"),
    ({"completion": "    return 1\n<|im_end|>"}, "syntax", "passed"),
    ({"completion": "I do not know."}, "syntax", None),
]


@needs_sandbox
def test_every_form_of_sample_is_read_and_both_figures_are_shown(tmp_path: Path) -> None:
    lines = [line for line, _, _ in FORMS]
    result, shown = scored(*shop(tmp_path, *lines, {"task_id": "shop/1", "completion": "x"}))
    assert [(line["result"], line["taken_out"]) for line in result["results"]] == [
        (kind, taken) for _, kind, taken in FORMS
    ]
    [model] = result["models"]
    assert (model["pass_at_k"]["1"], model["syntax_valid"]) == (4 / 11, 4)
    taken = model["taken_out"]
    assert (taken["samples"], taken["pass_at_k"]["1"], taken["syntax_valid"]) == (6, 9 / 11, 10)
    assert "6 of the 11 samples hold their program in a code fence or among prose" in shown
    assert result["unknown_tasks"] == ["shop/1"] and "1 samples are left out" in shown
    assert "  taken out" in shown


@needs_sandbox
def test_folder_of_programs_or_of_files_is_read(tmp_path: Path) -> None:
    data, made = shop(tmp_path, {"completion": "    return 1"})
    folder = tmp_path / "folder"
    for name, text in {"0": PROGRAM, "2": PROGRAM, "10": "def price(): pass"}.items():
        (folder / "shop_0").mkdir(parents=True, exist_ok=True)
        (folder / f"shop_0/{name}.py").write_text(text)
    (folder / "more.jsonl.gz").write_bytes(gzip.compress(made.read_bytes()))
    result, _ = scored(data, folder)
    assert [line["passed"] for line in result["results"]] == [True, True, False, True]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="has no samples"):
        scored(data, tmp_path / "none")


@needs_sandbox
def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    data, made = shop(tmp_path, {"completion": ""}, task=TASK | {"task_id": 7})
    data.write_text(f"{data.read_text()}\n{json.dumps(TASK | {'task_id': '7'})}")
    with pytest.raises(UserError, match="task 2: another task has its task_id, '7'"):
        scored(data, made)


NONE, NO_PYTHON, LOOP = "    return None\n", "    return (\n", "    x = 1\n" + "    x += x\n" * 9


@needs_sandbox
@pytest.mark.parametrize(
    ("texts", "failed"),
    [
        ([NO_PYTHON, *[NONE] * 14], []),
        ([NONE] * 16, ["tasks solved"]),
        ([NO_PYTHON] * 2, ["valid syntax"]),
        ([LOOP], ["loops"]),
    ],
)
def test_exit_says_whether_the_plans_aim_is_met(
    tmp_path: Path, texts: list[str], failed: list[str]
) -> None:
    """5 of 20 solved, 95% valid syntax, no loop; the other tasks have their own solutions."""
    texts = [*texts, *(task.solution for task in TASKS[len(texts) :])]
    path = write_samples(
        tmp_path / "mine.jsonl",
        [(task.task_id, text) for task, text in zip(TASKS, texts, strict=True)],
    )
    call = ["codebench", "--samples", str(path), "--out", str(tmp_path), "--allow-code-execution"]
    assert CliRunner().invoke(app, call).exit_code == int(bool(failed))
    rows = json.loads((tmp_path / "codebench-mini.json").read_text())["verdicts"]
    assert [row["name"] for row in rows if row["verdict"] == "fail"] == failed


@needs_sandbox
def test_command_scores_samples_of_an_original_file(tmp_path: Path) -> None:
    data, path = shop(tmp_path, {"completion": "    return 1"}, {"completion": "    pass"})
    packed = tmp_path / "he.jsonl.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    call = ["codebench", "--suite", "humaneval", "--samples", str(path), "--data", str(packed),
            "--out", str(tmp_path), "--allow-code-execution"]  # fmt: skip
    assert CliRunner().invoke(app, call).exit_code == 0
    result = json.loads((tmp_path / "codebench-humaneval.json").read_text())
    assert [line["passed"] for line in result["results"]] == [True, False]
    assert result["models"][0]["pass_at_k"] == {"1": 0.5}
