"""The command as a user meets it: exit codes, one message, no traceback, no heavy import."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cogex

CODE = "def solve(text):\n    return {'answer': text}\n\n>>> solve('a')"
PREPARE = ("prepare", "cogex", "--input", "data.json", "--out", "out")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cogex", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cogex.main()
    return int(ended.value.code or 0)


def write_data(good: int, bad: int = 0) -> None:
    rows: list[dict[str, str]] = [
        {"instruction": f"Copy {n}.", "code_prompt": CODE, "code_output": "{'answer': 'a'}"}
        for n in range(good)
    ]
    Path("data.json").write_text(json.dumps(rows + [{"instruction": "x"}] * bad))


def test_a_mistake_of_the_user_is_one_message_and_nothing_heavy_is_imported() -> None:
    script = "import sys, cogex\ntry: cogex.main()\nfinally: print({'torch'} & {*sys.modules})"
    words = [sys.executable, "-c", script, "select", "recipes/x.yml"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "set()\n")
    [message] = done.stderr.splitlines()
    assert message.startswith("cogex: recipes/x.yml: ")


def test_what_needs_no_model_does_not_import_its_libraries() -> None:
    """Comparing runs, reading a finished search, and asking a server."""
    modules = "validation.compare, tools.search.run, tools.search.shown, tools.ask, tools.endpoint"
    code = f"import sys, {modules}; print({{'torch', 'transformers', 'peft'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("set()\n", 0), done.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (PREPARE, ("data.json", "line 1", "cut off")),
        (("check", "recipes/x.yml"), ("recipes/x.yml",)),
        (("demo",), ("recipes/cogex-tiny.yml", "repository")),
    ],
)
def test_what_cannot_be_used_is_exit_2_and_nothing_is_written(
    words: tuple[str, ...],
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("data.json").write_text('[{"instruction": "cut o')
    assert run(monkeypatch, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    [message] = said.err.splitlines()
    assert message.startswith("cogex: ") and all(part in message for part in parts)
    assert [path.name for path in Path().iterdir()] == ["data.json"]


def test_prepare_without_validation_rows_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(good=3)
    for size in ("0", "-1"):
        assert run(monkeypatch, *PREPARE, "--val-size", size) == 2
        assert f"{size} is not in the range x>=1" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "code"), [("0.05", 1), ("0.2", 0)])
def test_too_many_rejected_rows_are_exit_1(
    monkeypatch: pytest.MonkeyPatch, share: str, code: int
) -> None:
    write_data(good=9, bad=1)
    assert run(monkeypatch, *PREPARE, "--val-size", 1, "--max-rejected", share) == code
    assert len(Path("out/rejected.jsonl").read_text().splitlines()) == 1
    result = json.loads(Path("out/manifest.json").read_text())
    assert (result["train"], result["val"], result["rejected"]) == (8, 1, 1)


def test_json_on_standard_output_stands_there_alone() -> None:
    """What the verb and the processes that it starts print goes to standard error."""
    script = (
        "import os, pathlib, cogex; place = cogex._claim_standard_output(pathlib.Path('-'));"
        "cogex.console.print('seen'); os.system('echo child'); cogex._write_json({'a': 1}, place)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert json.loads(done.stdout) == {"a": 1}
    assert done.stderr.split() == ["seen", "child"]


def test_every_verb_explains_each_argument_under_h(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ask", "codebench", "preflight", "fetch"):
        with pytest.raises(SystemExit):
            cogex.app([name, "-h"])
        said = " ".join(capsys.readouterr().out.split())
        arguments = said[said.index(" Arguments ") : said.index(" Options ")]
        assert re.search("A recipe|The recipe|svamp", arguments), said


def test_the_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cogex.app(["--version"])
    root = Path(cogex.__file__).parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"cogex {project['version']}\n"
