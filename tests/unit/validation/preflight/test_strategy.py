"""Each dataset's `type` is loaded for real, and what stands in the way is named truly."""

from pathlib import Path
from typing import Any

import pytest

from tools.recipe import Recipe
from validation.preflight.strategy import check_strategy, is_axolotls_own
from validation.verdict import VerdictRow

COGEX = {"path": "train.jsonl", "type": "prompt_strategies.cogex"}


def check(training: dict[str, Any], validation: dict[str, Any] | None = None) -> list[VerdictRow]:
    values = {
        "sequence_len": 512,
        "datasets": [training],
        "test_datasets": [validation or training],
    }
    return check_strategy(Recipe(Path("r.yml"), values))


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the working folder; it has a name of its own, for modules are cached."""
    package = tmp_path / f"broken_{abs(hash(tmp_path))}"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return package


def check_module(package: Path, source: str) -> VerdictRow:
    (package / "strategy.py").write_text(source)
    return check({"path": "train.jsonl", "type": f"{package.name}.strategy"})[0]


def test_our_strategies_load() -> None:
    verdicts = check(COGEX)
    assert [row.verdict for row in verdicts] == ["ok", "ok", "ok"]
    assert "trained on: completion" in verdicts[0].found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            "import os\n\nimport no_such_package\n",
            "ModuleNotFoundError: No module named 'no_such_package' (FILE, line 3)",
        ),
        ("import os\n\ndef load(:\n", "SyntaxError: invalid syntax (strategy.py, line 3)"),
        ("", "has no attribute 'load'"),
    ],
)
def test_error_of_a_module_is_named_with_file_and_line(
    broken: Path, source: str, found: str
) -> None:
    row = check_module(broken, source)
    assert row.verdict == "fail"
    assert found.replace("FILE", str(broken / "strategy.py")) in row.found


def test_strategy_of_another_kind_is_a_note(broken: Path) -> None:
    row = check_module(broken, "def load(tokenizer, cfg, ds_cfg):\n    return object()\n")
    assert row.verdict == "note" and "no CompletionStrategy" in row.found


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("prompt_strategies.cogx", "No module named 'prompt_strategies.cogx'"),
        ("cogex", "Axolotl finds no such type"),  # a module of that name can be imported
    ],
)
def test_type_that_axolotl_does_not_find_says_how_it_is_written(kind: str, cause: str) -> None:
    row = check({"path": "train.jsonl", "type": kind})[0]
    assert row.verdict == "fail" and cause in row.found
    assert "package.module" in row.todo


def test_entry_without_type_fails() -> None:
    assert not is_axolotls_own({"path": "train.jsonl"})
    assert [row.verdict for row in check({"path": "train.jsonl"})] == ["fail", "fail", "ok"]


def test_recipe_that_the_strategy_refuses_shows_its_reason() -> None:
    row = check({**COGEX, "roles_to_train": ["assistant"]})[0]
    assert row.verdict == "fail" and "use [code, output] or [output]" in row.found


@pytest.mark.parametrize("kind", ["completion", "alpaca:chat", "chat_template"])
def test_axolotls_own_type_is_a_note(kind: str) -> None:
    entry = {"path": "train.jsonl", "type": kind}
    assert is_axolotls_own(entry)
    assert [row.verdict for row in check(entry)] == ["note", "note", "ok"]


@pytest.mark.parametrize(
    ("key", "other"), [("type", "prompt_strategies.nl_plan"), ("roles_to_train", ["output"])]
)
def test_splits_that_differ_fail(key: str, other: Any) -> None:
    row = check(COGEX, {**COGEX, key: other})[2]
    assert row.verdict == "fail"
    assert f"`{key}` is" in row.found and str(other) in row.found
