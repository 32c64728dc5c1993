"""A path that is not there: the message says what makes it, or where a relative path starts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.errors import REPOSITORY, UserError, remedy
from tools.models import load_base, load_trained
from tools.prepared_rows import read_prepared_rows
from tools.recipe import Recipe, read_recipe
from tools.run_folder import to_train
from tools.search.apply import apply
from tools.search.card import read_card

ALPACA, CODE = ("id", "instruction", "input", "output"), ("id", "prompt", "solution")
OUTPUTS = Recipe(Path("recipes/mine.yml"), {"output_dir": "outputs/mine"})


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: read_recipe(Path("recipes/cogex-tiny.yml")), "run in the repository's folder"),
        (lambda: read_recipe(Path("mine.yml")), "`ls recipes` shows them"),
        (lambda: read_recipe(Path("runs")), "is a folder, and the run folder of no recipe"),
        (lambda: read_card(Path("tasks/coin.yml")), "run in the repository's folder"),
        (lambda: read_card(Path("mine.yml")), "`ls tasks` shows them"),
        (lambda: load_base("models/tiny-base"), "run in the repository's folder"),
        (lambda: load_base(Path("data/tiny/no-base")), "`cogex demo` makes it"),
        (lambda: load_base("data/code-base/29m"), "`cogex prepare code-base` makes it"),
        (lambda: load_base("outputs/a/best"), "train recipes/a.yml, then run `cogex select recip"),
        (lambda: load_trained(Path("recipes/a.yml")), "train recipes/a.yml, then run `cogex sel"),
        (lambda: read_prepared_rows(Path("data/cogex/val.jsonl")), "run `cogex prepare cogex`"),
        (lambda: read_prepared_rows(Path("data/tiny/none.jsonl")), "`cogex demo` makes it"),
        (lambda: read_prepared_rows(Path("x/val.jsonl"), ALPACA), "run `cogex prepare alpaca`"),
        (lambda: read_prepared_rows(Path("data/arxivdl/200/val.jsonl"), ALPACA),
         "run `cogex prepare arxivdl`"),
        (lambda: read_prepared_rows(Path("x/val.jsonl"), CODE), "run `cogex prepare code`"),
        (lambda: apply(Path("programs.json"), []), "run `cogex search TASK --recipe RECIPE`"),
    ],
)  # fmt: skip
def test_message_names_the_folder_or_the_command(
    read: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("recipes", "runs"):
        Path(path).mkdir()
    Path("recipes/a.yml").write_text("output_dir: outputs/a\nbase_model: x\n")
    with pytest.raises(UserError, match=re.escape(said)):
        read()


def test_a_path_that_is_there_or_absolute_is_not_looked_for_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run in the repository" in remedy("models/tiny-base", "else")
    assert remedy(tmp_path / "models/tiny-base", "else") == remedy("models/none", "else") == "else"
    assert to_train(OUTPUTS).endswith("`accelerate launch -m axolotl.cli.train recipes/mine.yml`")
    Path("models/tiny-base").mkdir(parents=True)
    assert remedy("models/tiny-base", "else") == "else"
    monkeypatch.chdir(REPOSITORY)
    assert remedy("models/none", "else") == "else"
