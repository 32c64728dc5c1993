"""Published benchmarks become verified rows; what is held out never reaches the training split."""

import ast
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.needs_sandbox import needs_sandbox
from tests.published_files import HUMANEVAL, MBPP, needs_published_files
from tools.code import near_duplicates
from tools.code.difficulty import count_lines, level_of, not_simple
from tools.code.humaneval import humaneval_task
from tools.code.mbpp import mbpp_task
from tools.code.merge import merge
from tools.code.tasks import MINI, PUBLISHED, Task, own_task, own_tasks, read_published
from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl
from tools.prepare.code import prepare_tasks
from tools.prepare.command import prepare
from tools.prepare.fields import RejectedError

HE_ROW = {
    "task_id": "HumanEval/7",
    "prompt": "def double(x):\n    return 2 * x\n\n\ndef fourfold(x):\n    '''Four times x.'''\n",
    "canonical_solution": "    return double(double(x))\n",
    "test": "def check(candidate):\n    assert candidate(3) == double(6)\n",
    "entry_point": "fourfold",
}
MBPP_ROW: dict[str, Any] = {
    "task_id": 11,
    "text": "Write a function to shift a number.",
    "code": "import math\r\nSTEP = 2; BASE = 1\r\nclass Box:\r\n"
    "\tdef __init__(self, x): self.x = x\r\n"
    "def helper(x) : return x + STEP # adds\r\ndef shift(box,   n=BASE):\r\n\t'''Old.'''\r\n"
    "\tresult = helper(box.x); result += n\r\n\treturn math.floor(result)",
    "test_setup_code": "box = Box(4)",
    "test_list": ["assert shift(box) == 7", "assert shift(Box(0), 3) == 5"],
    "challenge_test_list": ["assert math.floor(shift(Box(1))) == 4"],
}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def mbpp_row(code: str, *tests: str, text: str = "Do it.") -> dict[str, Any]:
    return {"task_id": 1, "text": text, "code": code, "test_list": list(tests)}


def test_humaneval_row_is_kept_and_every_spelling_of_its_task_id_has_an_id_of_its_own() -> None:
    task = humaneval_task(HE_ROW)
    prompt, solution = HE_ROW["prompt"], HE_ROW["canonical_solution"]
    assert task.row == {"id": "he_7", "prompt": prompt, "solution": solution}
    assert task.names == ("fourfold",)
    names = ["HumanEval/7", "HumanEval/07", "he_7", "test/0", ""]
    assert humaneval_task(HE_ROW | {"task_id": 7}).task_id == 7
    assert len({humaneval_task(HE_ROW | {"task_id": name}).id for name in names}) == len(names)


def test_mbpp_program_is_split_by_its_syntax_tree() -> None:
    task = mbpp_task(MBPP_ROW)
    assert task.prompt == (
        "import math\n\n\nSTEP = 2\nBASE = 1\n\n\nclass Box:\n\n    def __init__(self, x):\n"
        "        self.x = x\n\n\ndef helper(x):\n    return x + STEP\n\n\n"
        'def shift(box, n=BASE):\n    """Write a function to shift a number.\n'
        '    >>> shift(box)\n    7\n    """\n'
    )
    assert task.solution == (
        "    result = helper(box.x)\n    result += n\n    return math.floor(result)\n"
    )
    assert (task.id, task.task_id, task.entry_point) == ("mbpp_11", 11, "shift")
    assert task.names == ("Box", "shift") and task.setup == "import math\n"


@pytest.mark.parametrize(
    ("assertion", "example"),
    [
        ("assert f(1,2) == [3]", ">>> f(1, 2)\n[3]"),
        ("assert f('a\\n') == 'b\\\\'", ">>> f('a\\n')\n'b\\\\'"),
        ('assert f(\'"""\') == 1', '>>> f(\'"""\')\n1'),
        ("assert f(1) is not None", "assert f(1) is not None"),
        ("assert set(f(1)) == {1}", ">>> set(f(1))\n{1}"),
    ],
)
def test_first_assertion_is_the_docstrings_example(assertion: str, example: str) -> None:
    task = mbpp_task(mbpp_row("def f(*args):\n    return 1", assertion))
    [function] = ast.parse(task.prompt + task.solution).body
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function) == f"Do it.\n{example}"


def test_function_asked_for_is_the_last_that_every_assertion_calls() -> None:
    code = "def g(x):\n    return x\n\ndef f(x):\n    return g(x)\n\ndef h(x):\n    return x\n"
    task = mbpp_task(mbpp_row(code, "assert f(g(1)) == 1", "assert f(2) == g(2)"))
    assert task.entry_point == "f"
    assert task.prompt.index("def h") < task.prompt.index("def f")


OWN_LINE = {"id": "a", "prompt": "def f(x):\n", "solution": "    return x\n", "tests": ""}
MAKERS: dict[str, tuple[Callable[[Any], Task], dict[str, Any]]] = {
    "humaneval": (humaneval_task, HE_ROW),
    "mbpp": (mbpp_task, mbpp_row("def f(x):\n    return x", "assert f(1) == 1")),
    "own": (own_task, OWN_LINE),
}


@pytest.mark.parametrize(
    ("kind", "changed", "reason"),
    [
        ("mbpp", {"code": "def f(:"}, "code: no Python"),
        ("mbpp", {"task_id": "11"}, "wrong type: task_id"),
        ("mbpp", {"test_list": []}, "has no tests"),
        ("mbpp", {"test_list": ["assert"]}, "tests: no Python"),
        ("mbpp", {"test_list": "assert f(1)"}, "wrong type: test_list"),
        ("mbpp", {"code": "f = lambda x: x"}, "no function that every test calls"),
        ("mbpp", {"code": "def f(x):\n    'Old.'"}, "the function has no body"),
        ("mbpp", {"code": f"def f(x):\n    return {'-' * 900}x"}, "nested too deep"),
        ("mbpp", {"code": f"def f(x):\n    return {'-' * 99_999}x"}, "code: no Python"),
        ("humaneval", {"task_id": True}, "wrong type: task_id"),
        ("humaneval", {"prompt": "def f():"}, "the prompt does not end in a newline"),
        ("humaneval", {"test": 1}, "wrong type: test"),
        ("own", {"tests": None}, "wrong type: tests"),
        ("own", {"prompt": "def f(x):"}, "the prompt is not a function's signature and docstring"),
    ],
)
def test_row_that_cannot_be_used_has_its_reason(kind: str, changed: Any, reason: str) -> None:
    make, row = MAKERS[kind]
    assert make(row).names
    with pytest.raises(RejectedError, match=f"^{reason}$"):
        make(row | changed)
    with pytest.raises(RejectedError, match="not an object"):
        make([row])


SIMPLE = "def f(x):\n"
DEEP = "    for a in x:\n        while a:\n            if a:\n                return a\n"


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (SIMPLE + DEEP, None),
        (SIMPLE + DEEP.replace("return a", "for b in a: pass"), "has blocks over 3 deep"),
        (SIMPLE + "    return (a and b and c and d and e and f and g and h and i)\n", None),
        (
            SIMPLE + "    return (a or b or c or d or e or f or g or h or i or j)\n",
            "has over 8 decisions",
        ),
        (SIMPLE + "    return [y for y in x if y if not y]\n" * 3, "has over 8 decisions"),
        (
            SIMPLE
            + "    if a: pass\n"
            + "    elif b: pass\n" * 7
            + "    else:\n        for c in x: pass\n",
            "has over 8 decisions",
        ),
        (SIMPLE + "    if a: pass\n" + "    elif b: pass\n" * 7, None),
        (SIMPLE + "    try: pass\n    finally: pass\n", "has Try"),
        ("def g(x):\n    pass\n" + SIMPLE + "    pass\n", "has several functions"),
        ("def f(*x):\n    pass\n", "has decorators or star parameters"),
        ("class A: pass\n", "has ClassDef"),
    ],
)
def test_difficulty_is_by_the_syntax_tree(program: str, problem: str | None) -> None:
    assert not_simple(program) == problem


def test_lines_are_counted_without_docstrings_comments_and_blanks() -> None:
    program = 'def f(x):\n    """One.\n\n    Two."""\n    # why\n\n    a = 1; b = 2\n    return a\n'
    assert count_lines(program) == 4


def row(name: str, body: str, said: str = "", **more: str) -> dict[str, str]:
    prompt = f'def {name}(x, y):\n    """{said}\n    >>> {name}(1, 2)\n    3\n    """\n'
    return {"id": f"id_{name}", "prompt": prompt, "solution": f"    {body}\n", **more}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (row("f", "return x + y"), row("g", "return x - y"), False),
        (row("is_prime", "return x"), row("isPrime", "return -x"), True),
        (row("f", "return x % 3"), row("g", "return x % 7"), True),
        (row("f", "return x % 3"), row("g", "return x % '3'"), False),
        (row("f", "return None"), row("g", "return True"), False),
        (row("f", "z = x\n    return z"), row("g", "w = x\n    return w"), True),
        (row("f", "return x", "Add two numbers."), row("g", "return y", "add  two numbers"), True),
        (row("f", "return x, y", ""), row("g", "return y", ""), False),
    ],
)
def test_near_duplicates_share_name_body_or_text(
    one: dict[str, str], other: dict[str, str], alike: bool
) -> None:
    assert (len(near_duplicates.group([one, other])) == 1) is alike
    assert bool(near_duplicates.keys(one) & near_duplicates.keys(other)) is alike


def test_near_duplicates_of_near_duplicates_are_in_the_group() -> None:
    rows = [row("a", "return x"), row("b", "return y"), row("b", "return x + y"), row("c", "pass"),
            row("d", "return x + y"), row("d", "return x")]  # fmt: skip
    assert near_duplicates.group(rows) == [[0, 1, 2, 4, 5], [3]]


def prepared(folder: Path, rows: list[dict[str, str]]) -> Path:
    """A folder as `cogex prepare` leaves it."""
    write_jsonl(folder / "rows.jsonl", rows)
    write_json(folder / "manifest.json", {"sha256": {"rows.jsonl": sha256(folder / "rows.jsonl")}})
    return folder


def family(name: str, size: int) -> list[dict[str, str]]:
    """Near-duplicates of each other by their body, and of no other family."""
    names = [f"{name}{index}" for index in range(size)]
    return [row(each, f"return x * {index} + {name}") for index, each in enumerate(names)]


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    sizes = {"alpha": 7, "beta": 3, "gamma": 3, "delta": 2, "kappa": 1}
    rows = [each for name, size in sizes.items() for each in family(name, size)]
    return [prepared(tmp_path / "one", rows[:9]), prepared(tmp_path / "two", rows[9:])]


@pytest.mark.parametrize("seed", range(2))
def test_groups_do_not_straddle_the_split_and_every_row_is_accounted_for(
    inputs: list[Path], tmp_path: Path, seed: int
) -> None:
    def content(out: str, seed: int) -> list[bytes]:
        found = merge(inputs, tmp_path / out, train_size=10, val_size=4, seed=seed)
        assert (found["train"], found["val"], found["rejected"]) == (10, 4, 2)
        return [path.read_bytes() for path in sorted((tmp_path / out).iterdir())]

    assert content("a", seed) == content("b", seed) != content("c", seed + 5)
    train, val, rejected = (
        [line.get("row", line) for line in lines_of(tmp_path / f"a/{name}.jsonl")]
        for name in ("train", "val", "rejected")
    )
    keys = [{key for each in rows for key in near_duplicates.keys(each)} for rows in (train, val)]
    assert not keys[0] & keys[1]
    given = [each["id"] for folder in inputs for each in lines_of(folder / "rows.jsonl")]
    assert sorted(each["id"] for each in (*train, *val, *rejected)) == sorted(given)


def test_an_input_gives_as_many_rows_as_asked_for_or_all(tmp_path: Path) -> None:
    parts = {"he": 12, "mbpp": 40, "syn": 30}
    one, two, three = (
        prepared(tmp_path / name, [
            row(f"{name}{number}", f"return {name}({number * 'x, '})", id=f"{name}_{number}")
            for number in range(count)
        ])
        for name, count in parts.items()
    )  # fmt: skip
    inputs = [f"{one}:all", f"{two}:10", three]
    merge(inputs, tmp_path / "out", train_size=30, val_size=8)
    rows = [line for part in ("train", "val") for line in lines_of(tmp_path / f"out/{part}.jsonl")]
    names = Counter(line["id"].split("_")[0] for line in rows)
    assert (len(rows), names["he"], names["mbpp"], names["syn"]) == (38, 12, 10, 16)
    with pytest.raises(UserError, match=r"mbpp:41: has 40 rows that can be used"):
        merge([f"{two}:41"], tmp_path / "x", train_size=1, val_size=0)
    with pytest.raises(UserError, match=r"asks for 40 training rows, and --train-size is 30"):
        merge([f"{two}:all"], tmp_path / "x", train_size=30, val_size=0)


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ("return x + 1", 1),
        ("return 'a' if x else 'b'", 1),
        ("y = x + 1\nreturn y", 2),
        ("if x:\n    return 1\nreturn 2", 2),
        ("return [y for y in x]", 2),
        ("for y in x:\n    pass\nreturn y", 2),
        ("while x:\n    x -= 1\nreturn x", 3),
        ("return [z for y in x for z in y]", 3),
        ("for y in x:\n    z = [v for v in y]\nreturn z", 3),
        ("return f(x - 1) if x else 0", 3),
        ("def g(y):\n    return y\nreturn g(x)", 3),
    ],
)
def test_level_is_by_the_syntax_tree(body: str, level: int) -> None:
    lines = body.replace("\n", "\n    ")
    assert level_of(f'def f(x):\n    """Text.\n\n    for"""\n    {lines}\n') == level


def test_a_curriculum_has_a_folder_for_each_level(tmp_path: Path) -> None:
    bodies = {"one": "return {}(x)", "two": "y = {}(x)\n    return y",
              "three": "while x:\n        x = {}(x)\n    return x"}  # fmt: skip
    rows = [
        row(f"{name}{number}", body.format(f"g{number}"), id=f"{name}_{number}")
        for name, body in bodies.items()
        for number in range(20)
    ]
    folder = prepared(tmp_path / "in", rows)
    merge([folder], tmp_path / "out", train_size=40, val_size=12, curriculum=True)
    whole: list[str] = []
    for level, name in enumerate(bodies, 1):
        part = tmp_path / f"out/level-{level}"
        manifest = json.loads((part / "manifest.json").read_text())
        for split in ("train", "val"):
            lines = lines_of(part / f"{split}.jsonl")
            assert {line["level"] for line in lines} == {str(level)}
            assert {line["id"].split("_")[0] for line in lines} == {name}
            assert manifest[split] == len(lines)
            whole += [line["id"] for line in lines]
    rows_of_all = [*lines_of(tmp_path / "out/train.jsonl"), *lines_of(tmp_path / "out/val.jsonl")]
    assert sorted(whole) == sorted(line["id"] for line in rows_of_all)
    with pytest.raises(UserError, match="--curriculum: no row of level 1 is in train"):
        merge([prepared(tmp_path / "b", rows[20:])], tmp_path / "c", train_size=20, val_size=8,
              curriculum=True)  # fmt: skip
    assert not (tmp_path / "c").exists()


def test_validation_has_the_share_of_each_category(tmp_path: Path) -> None:
    rows = [
        row(f"{name}{number}", f"return {name}({number * 'x, '})", id=f"syn_{name}_{number}")
        for name, count in {"lists": 60, "loops": 30, "strings": 10}.items()
        for number in range(count)
    ]
    merge([prepared(tmp_path / "in", rows)], tmp_path / "out", train_size=50, val_size=20)
    found = Counter(line["id"].split("_")[1] for line in lines_of(tmp_path / "out/val.jsonl"))
    assert found == {"lists": 12, "loops": 6, "strings": 2}


def merged_reasons(tmp_path: Path, rows: list[dict[str, str]], **options: Any) -> dict[str, str]:
    folder = prepared(tmp_path / "in", rows)
    merge([folder], tmp_path / "out", train_size=1, val_size=0, **options)
    found = lines_of(tmp_path / "out/rejected.jsonl")
    return {line["row"]["id"]: line["reason"] for line in found}


def test_mini_suite_is_never_trained_on(tmp_path: Path) -> None:
    own = [task.row for task in own_tasks(MINI)]
    reasons = merged_reasons(tmp_path, [*own, row("Gcd", "return x"), row("f", "return x ** y")])
    assert reasons == {each["id"]: "held out: by its id" for each in own} | {
        "id_Gcd": "held out: near-duplicate of mini_gcd"
    }


def test_held_out_rows_and_repetitions_are_not_used(tmp_path: Path) -> None:
    held = prepared(tmp_path / "held", [row("f", "return x ** y"), row("h", "return x // 3")])
    once = row("d", "return [x, y]")
    rows = [row("a", "return (x, y)", id="id_f"), row("b", "return x ** y"), row("H", "return 1"),
            row("c", "return x // 9"), once, once | {"id": "again"},
            row("e", "return -x", id="id_d")]  # fmt: skip
    assert merged_reasons(tmp_path, rows, held_out=[held]) == {
        "id_f": "held out: by its id",
        "id_b": "held out: near-duplicate of id_f",
        "id_H": "held out: near-duplicate of id_h",
        "id_c": "held out: near-duplicate of id_h",
        "again": "duplicate of id_d",
        "id_d": "duplicate id",
    }


def test_functions_of_cruxeval_are_held_out(tmp_path: Path) -> None:
    held = tmp_path / "cruxeval.jsonl"
    sample = {"id": "sample_0", "code": "def f(x, y):\n    return x - 3 * y"}
    held.write_text(json.dumps(sample | {"input": "1, 2", "output": "-5"}) + "\n")
    rows = [row("other", "return x - 7 * y"), row("kept", "return 0")]
    assert merged_reasons(tmp_path, rows, held_out=[held]) == {
        "id_other": "held out: near-duplicate of sample_0"
    }


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "rows.jsonl").write_text('{"id": "x"}\n'), "not a prepared row"),
        (lambda folder: (folder / "manifest.json").unlink(), "not known to be verified"),
        (
            lambda folder: write_jsonl(folder / "rows.jsonl", [row("z", "return x ** y")]),
            "not known to be verified",
        ),
    ],
)
def test_rows_that_were_not_verified_are_refused(
    inputs: list[Path], tmp_path: Path, break_it: Callable[[Path], Any], message: str
) -> None:
    break_it(inputs[1])
    with pytest.raises(UserError, match=message):
        merge(inputs, tmp_path / "out", train_size=2, val_size=0)
    assert not (tmp_path / "out").exists()


def test_too_few_rows_are_told_with_what_became_of_them(inputs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"need 500 rows, and there are 16 .*: give smaller sizes"):
        merge(inputs, tmp_path / "out")


def published(path: Path, rows: list[dict[str, Any]], pack: bool = False) -> Path:
    text = "".join(f"{json.dumps(each)}\n" for each in rows).encode()
    path.write_bytes(gzip.compress(text) if pack else text)
    return path


@needs_sandbox
def test_only_what_passes_its_own_tests_is_kept(tmp_path: Path) -> None:
    rows = [
        MBPP_ROW,
        mbpp_row("def f(x):\n    return x", "assert f(1) == 2") | {"task_id": 2},
        mbpp_row("def f(x):\n    while True: pass", "assert g(1) == 2") | {"task_id": 3},
        mbpp_row("import numpy\ndef f(x):\n    return x", "assert f(1) == 1") | {"task_id": 4},
        mbpp_row("def f(x):\n    return x", "assert f(1) == 1") | {"task_id": 11},
        mbpp_row("def f(x):\n" + "    x += 1\n" * 30, "assert f(1) is None") | {"task_id": 5},
        mbpp_row("def f(x):\n    return x", "assert f(1) == 1") | {"task_id": 6},
        mbpp_row("def f(x):\n    return x", "if False: f(1)") | {"task_id": 7},
    ]
    source, out = published(tmp_path / "mbpp.jsonl", rows), tmp_path / "out"
    summary = prepare_tasks("mbpp", source, out, allow_code_execution=True, max_lines=30)
    assert [each["id"] for each in lines_of(out / "rows.jsonl")] == ["mbpp_11", "mbpp_6"]
    rejected = lines_of(out / "rejected.jsonl")
    assert {line["index"]: line["reason"] for line in rejected} == {
        1: "its own solution gives a wrong answer: AssertionError",
        2: "no function that every test calls",
        3: "its own solution has tests that cannot be run: ModuleNotFoundError: No module named "
        "'numpy'",
        4: "duplicate id",
        5: "more than 30 lines",
        7: "its own solution has tests that cannot be run: they do not call the program",
    }
    assert [line["row"] for line in rejected] == [*rows[1:6], rows[7]]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["read"], manifest["kept"], manifest["rejected"]) == (8, 2, 6)
    assert manifest["source"]["sha256"] == sha256(source)
    assert manifest["source"]["known_as"] is None and summary["reasons"]["duplicate id"] == 1


@needs_sandbox
def test_command_prepares_and_merges_and_rejects_a_task_without_a_function(tmp_path: Path) -> None:
    """Such a task could not be compared with what is held out."""
    box = {
        "task_id": "HumanEval/8",
        "prompt": "class Box:\n",
        "canonical_solution": "    value = 1\n",
        "test": "def check(candidate):\n    assert candidate().value == 1\n",
        "entry_point": "Box",
    }
    source = published(tmp_path / "he.gz", [HE_ROW, box], pack=True)
    folder, out = str(tmp_path / "he"), str(tmp_path / "out")
    call = ["humaneval", "--input", str(source), "--out", folder, "--allow-code-execution"]
    assert CliRunner().invoke(prepare, call).exit_code == 0
    [line] = lines_of(tmp_path / "he/rejected.jsonl")
    assert line["reason"] == "prompt and solution are no function in Python"
    call = ["code", "--input", folder, "--out", out, "--train-size", "1", "--val-size", "0"]
    assert CliRunner().invoke(prepare, call).exit_code == 0
    assert [each["id"] for each in lines_of(tmp_path / "out/train.jsonl")] == ["he_7"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b'{"a": 1}\n{"a"', "line 2: is not valid JSON"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 9, "a damaged gzip file"),  # a malformed stream
    ],
)
def test_file_that_is_none_is_told_so(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_published(tmp_path / "x.jsonl")


@needs_published_files
def test_published_files_are_known_and_all_of_their_tasks_are_split() -> None:
    humaneval, mbpp = read_published(HUMANEVAL), read_published(MBPP)
    assert [PUBLISHED[each.sha256] for each in (humaneval, mbpp)] == [HUMANEVAL.name, MBPP.name]
    tasks = [humaneval_task(each) for each in humaneval.rows]
    tasks += [mbpp_task(each) for each in mbpp.rows]
    assert len(tasks) == 164 + 974
    programs = [task.prompt + task.solution for task in tasks]
    assert all(ast.parse(program) for program in programs)
    assert not any("\r" in program or "\t" in program for program in programs[164:])
    assert sum(not_simple(program) is None for program in programs) == 139 + 903
