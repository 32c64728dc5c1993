"""The command as a user meets it: exit codes, one message, no traceback, no heavy import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "def solve(text):\n    return {'answer': text}\n\n>>> solve('a')"


def cogex(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cogex", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def write_data(folder: Path, good: int, bad: int = 0) -> Path:
    rows: list[dict[str, str]] = [
        {"instruction": f"Copy {n}.", "code_prompt": CODE, "code_output": "{'answer': 'a'}"}
        for n in range(good)
    ]
    (folder / "data.json").write_text(json.dumps(rows + [{"instruction": "x"}] * bad))
    return folder / "data.json"


def assert_one_message(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 2
    assert done.stdout == ""
    [message] = done.stderr.splitlines()
    assert message.startswith("cogex: ")
    for part in parts:
        assert part in message


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = "import sys, cogex; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.stdout.strip() == b"[]"


def test_prepare_says_what_it_did_and_exits_0(tmp_path: Path) -> None:
    write_data(tmp_path, good=10)
    done = cogex(
        *("prepare", "cogex", "--input", "data.json", "--out", "out", "--val-size", 3),
        *("--json", "result.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0 and done.stderr == ""
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["train"], result["val"], result["rejected"], result["ok"]) == (7, 3, 0, True)
    assert len((tmp_path / "out" / "val.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(("share", "code"), [("0.05", 1), ("0.2", 0)])
def test_too_many_rejected_rows_are_exit_1(tmp_path: Path, share: str, code: int) -> None:
    write_data(tmp_path, good=9, bad=1)
    done = cogex(
        *("prepare", "cogex", "--input", "data.json", "--out", "out", "--val-size", 1),
        *("--max-rejected", share),
        cwd=tmp_path,
    )
    assert done.returncode == code
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 1


def test_unusable_data_is_one_message_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"instruction": "cut o')
    done = cogex("prepare", "cogex", "--input", "data.json", "--out", "out", cwd=tmp_path)
    assert_one_message(done, "data.json", "row 0", "line 1", "cut off")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["select", "check"])
def test_a_missing_recipe_is_one_message(tmp_path: Path, verb: str) -> None:
    assert_one_message(cogex(verb, "recipes/x.yml", cwd=tmp_path), "recipes/x.yml")


def test_the_demo_elsewhere_says_where_to_run_it(tmp_path: Path) -> None:
    done = cogex("demo", cwd=tmp_path)
    assert_one_message(done, "recipes/cogex-tiny.yml", "repository")
    assert not list(tmp_path.iterdir())


def test_json_on_standard_output_stands_there_alone(tmp_path: Path) -> None:
    """What the verb and the processes that it starts print goes to standard error."""
    script = (
        "import os, pathlib, cogex; place = cogex._claim_standard_output(pathlib.Path('-'));"
        "cogex.console.print('seen'); os.system('echo child'); cogex._write_json({'a': 1}, place)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert json.loads(done.stdout) == {"a": 1}
    assert done.stderr.split() == ["seen", "child"]
