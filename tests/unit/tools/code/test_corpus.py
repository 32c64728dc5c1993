"""A folder of Python files becomes a corpus, and every file is accounted for."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cogex import app
from tools.code.corpus import OUTPUTS, prepare_python_corpus
from tools.code.tasks import MINI, own_tasks
from tools.errors import UserError

FUNCTION = '''def {name}(values):
    """Count the values that are above {number}."""
    count = 0
    for value in values:
        if value > {number}:
            count += 1
    return count
'''


def module(number: int) -> str:
    return f"# file {number}\nimport os\n\n\n" + FUNCTION.format(name=f"f{number}", number=number)


def write(folder: Path, files: dict[str, str | bytes], plain: int = 40) -> Path:
    """Write these files and some that are in order, enough for both splits."""
    for number in range(plain):
        files = {f"plain/m{number:02}.py": module(number)} | files
    for name, content in files.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / "source"


def prepare(
    folder: Path, files: dict[str, str | bytes] | None = None, **options: Any
) -> dict[str, Any]:
    source = write(folder, files or {})
    return prepare_python_corpus(source, folder / "out", **({"val_share": 0.2} | options))


def lines(folder: Path, name: str) -> list[Any]:
    text = (folder / "out" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def documents(folder: Path) -> dict[str, str]:
    return {each["id"]: each["text"] for name in ("train", "val") for each in lines(folder, name)}


def test_a_file_is_a_document_and_line_ends_and_encoding_are_made_one(tmp_path: Path) -> None:
    plain = "# -*- coding: utf-8 -*-\n\n\ndef f():\n\treturn 'naïve' # …\n\x0c\n\n"
    files: dict[str, tuple[str | bytes, str]] = {
        "deep/er/a.py": (plain, plain),
        "crlf.py": ("x = 1\r\ny = 2\rz = 3\n", "x = 1\ny = 2\nz = 3\n"),
        "bom.py": (b"\xef\xbb\xbfx = 4\n", "x = 4\n"),
        "latin.py": (
            "# coding: latin-1\nx = 'é'\n".encode("latin-1"),
            "# coding: latin-1\nx = 'é'\n",
        ),
    }
    others: dict[str, str | bytes] = {"a.txt": "x = 1", "b.pyc": b"\0", "c.PY": "x = 2"}
    summary = prepare(tmp_path, {name: content for name, (content, _) in files.items()} | others)
    assert summary["read"] == 44  # the others are not
    found = documents(tmp_path)
    assert {name: found[name] for name in files} == {
        name: text for name, (_, text) in files.items()
    }


REJECTED: dict[str, tuple[str | bytes, str]] = {
    "LICENSE.py": ("x = 1\n", "licence file"),
    "bytes.py": (b"x = '\xff'\n", "not text"),
    "encoding.py": (b"# coding: none-such\nx = 1\n", "not text"),
    "broken.py": ("def f(:\n", "does not parse"),
    "deep.py": ("def f(x):\n    return " + "-" * 900 + "x\n", "nested too deep"),
    "long.py": ("x = 1\n" * 20_000, "too long"),
    "docstring.py": ('"""A package."""\nimport os\nfrom a import b\n', "no code"),
    "other_header.py": ("# Licence: MIT\n\n" + module(7), "duplicate"),
    "other_spaces.py": (module(7).replace("\n", " \n\n"), "duplicate"),
}


def test_a_file_that_cannot_be_used_is_rejected_with_its_reason(tmp_path: Path) -> None:
    files = {f"zoo/{name}": content for name, (content, _) in REJECTED.items()}
    summary = prepare(tmp_path, files)
    assert (summary["read"], summary["kept"], summary["rejected"]) == (49, 40, 9)
    found = {line["row"]["id"].removeprefix("zoo/"): line for line in lines(tmp_path, "rejected")}
    assert {name: line["reason"] for name, line in found.items()} == {
        name: reason for name, (_, reason) in REJECTED.items()
    }
    assert sorted(line["index"] for line in found.values()) == list(range(40, 49))
    assert summary["reasons"]["duplicate"] == 2 and not documents(tmp_path).keys() & files.keys()


def test_what_is_no_plain_file_is_rejected_unopened_and_any_name_is_shown(tmp_path: Path) -> None:
    source = write(tmp_path, {})
    (source / "link.py").symlink_to(source / "plain/m00.py")
    (source / "loop").symlink_to(source)
    (source / "folder.py").mkdir()
    os.mkfifo(source / "pipe.py")  # opening it would wait for ever
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.py")).write_text("x = 1\n")
    write(source, {"x.py": "x = 1\n"}, plain=0).rename(source / "out")  # output is not read again
    summary = prepare_python_corpus(source, source / "out", val_share=0.2)
    assert summary["reasons"] == {"not a plain file": 2}
    assert summary["kept"] == 41
    found = [line for name in ("train", "val") for line in (source / f"out/{name}.jsonl").open()]
    assert {"id": r"\xff.py", "text": "x = 1\n"} in map(json.loads, found)


def test_all_documents_of_a_file_are_in_one_split(tmp_path: Path) -> None:
    files = {
        f"two{n:02}.py": FUNCTION.format(name="a", number=n + 100)
        + FUNCTION.format(name="b", number=n + 200)
        for n in range(40)
    }
    prepare(tmp_path, dict(files), lines=10)
    train, val = (
        {each["id"].split(":")[0] for each in lines(tmp_path, name)} for name in ("train", "val")
    )
    assert train and val and not train & val


def test_the_split_depends_on_seed_and_text_alone(tmp_path: Path) -> None:
    source = write(tmp_path, {})
    made = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        prepare_python_corpus(source, tmp_path / name, val_share=0.3, seed=seed)
        made[name] = [(tmp_path / name / file).read_bytes() for file in OUTPUTS]
    assert made["one"] == made["again"] != made["other"]
    prepare(tmp_path)
    before = {each["id"] for each in lines(tmp_path, "val")}
    prepare(tmp_path, {"aaa.py": "x = 1\n"})  # another file changes the split of no file
    assert {each["id"] for each in lines(tmp_path, "val")} - {"aaa.py"} == before


def test_manifest_counts_and_the_share_of_validation_is_as_asked(tmp_path: Path) -> None:
    write(tmp_path, {"zoo/empty.py": ""}, plain=200)
    prepare_python_corpus(tmp_path / "source", tmp_path / "out", val_share=0.25, seed=5)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    train, val = lines(tmp_path, "train"), lines(tmp_path, "val")
    assert manifest["read"] == manifest["kept"] + manifest["rejected"] == 201
    assert manifest["documents"] == {"train": len(train), "val": len(val)}
    assert 32 < len(val) < 68  # 50 ± 3 standard deviations
    assert manifest["characters"]["val"] == sum(len(each["text"]) for each in val)
    assert (manifest["seed"], manifest["reasons"]) == (5, {"no code": 1})
    assert set(manifest["sha256"]) == set(OUTPUTS)


# functions


def test_short_functions_with_a_docstring_are_documents(tmp_path: Path) -> None:
    long = FUNCTION.format(name="long", number=900).replace(
        "    count = 0\n", "    count = 0\n" * 5
    )
    bare = FUNCTION.format(name="bare", number=901).replace('    """', '    # """')
    hollow = 'def hollow():\n    """Nothing behind it."""\n'
    decorated = "@cache\n" + FUNCTION.format(name="decorated", number=902)
    method = "class A:\n" + "".join(
        f"    {line}\n" for line in FUNCTION.format(name="m", number=903).splitlines()
    )
    good = FUNCTION.format(name="good", number=904)
    text = "\n\n".join([long, bare, hollow, decorated, method, good])
    summary = prepare(tmp_path, {"zoo/a.py": text}, lines=7)
    found = {name: text for name, text in documents(tmp_path).items() if name.startswith("zoo")}
    line = text.split("def good")[0].count("\n") + 1
    assert found == {f"zoo/a.py:{line}": good}
    assert summary["kept"] == 41


def test_a_file_without_a_usable_function_has_the_reason_of_its_first(tmp_path: Path) -> None:
    again = FUNCTION.format(name="f7", number=7)  # as in plain/m07.py
    summary = prepare(tmp_path, {"zoo/a.py": "x = 1\n", "zoo/b.py": again}, lines=7)
    assert summary["reasons"] == {"no short function with a docstring": 1, "duplicate": 1}


# benchmarks


def rows(folder: Path, *problems: Any) -> Path:
    path = folder / "problems.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    return path


PROMPT, SOLUTION = FUNCTION.format(name="above", number=7).split("    count = 0\n")
SOLUTION = "    count = 0\n" + SOLUTION


@pytest.mark.parametrize(
    "problem",
    [
        {"task_id": "HumanEval/1", "prompt": PROMPT, "canonical_solution": SOLUTION},
        {"task_id": 1, "code": (PROMPT + SOLUTION).replace("\n", "\r\n")},
        {"id": "he_1", "prompt": PROMPT, "solution": SOLUTION},
    ],
    ids=["HumanEval", "MBPP", "row"],
)
@pytest.mark.parametrize("most_lines", [None, 7], ids=["files", "functions"])
def test_a_problem_of_a_benchmark_is_kept_out(
    tmp_path: Path, problem: dict[str, Any], most_lines: int | None
) -> None:
    summary = prepare(tmp_path, exclude=[rows(tmp_path, problem)], lines=most_lines)
    assert summary["reasons"] == {"benchmark problem": 1}  # f7 of plain/m07.py, under another name
    assert not any("m07" in name for name in documents(tmp_path))


def test_the_mini_suite_is_always_kept_out(tmp_path: Path) -> None:
    tasks = own_tasks(MINI)
    files: dict[str, str | bytes] = {
        f"zoo/{task.id}.py": "import os\n\n\n" + task.prompt + task.solution for task in tasks
    }
    assert prepare(tmp_path, files)["reasons"] == {"benchmark problem": len(tasks)}


@pytest.mark.parametrize(
    "problem", [{"text": "x"}, {"code": "x = 1"}, {"code": 1}, {"code": "def f(:"}, [], 3]
)
def test_a_file_that_holds_no_problems_is_refused(tmp_path: Path, problem: Any) -> None:
    with pytest.raises(UserError, match=r"problems\.jsonl, problem 2: holds no function"):
        prepare(tmp_path, exclude=[rows(tmp_path, {"code": "def f(): pass"}, problem)])
    assert not (tmp_path / "out").exists()


# settings, and the folder


def test_no_folder_no_share_and_a_split_without_a_document_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        prepare_python_corpus(tmp_path / "nowhere", tmp_path / "out")
    source = write(tmp_path, {"a.py": "x = 1\n"}, plain=0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UserError, match="--val-share"):
            prepare_python_corpus(source, tmp_path / "out", val_share=share)
    with pytest.raises(UserError, match="of 1 Python files none is left for val"):
        prepare_python_corpus(source, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    filler = f"x = '{'y' * 90_000}'\n"
    files = {f"big/{n}.py": f"n = {n}\n{filler}" for n in range(40)}  # 3.6 MB
    source = write(tmp_path, dict(files))
    tracemalloc.start()
    prepare_python_corpus(source, tmp_path / "out", val_share=0.2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000


def test_the_command_prints_every_reason(tmp_path: Path) -> None:
    source = write(tmp_path, {"zoo/empty.py": "", "zoo/broken.py": "def"})
    command = ["prepare", "python-corpus", str(source), "--out", str(tmp_path / "out")]
    command += ["--val-share", "0.2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "does not parse" in done.output and "no code" in done.output
    assert json.loads((tmp_path / "out/manifest.json").read_text())["rejected"] == 2
