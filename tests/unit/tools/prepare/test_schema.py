"""Help and document show the fields that the strategies declare."""

from pathlib import Path

import pytest

from prompt_strategies.base import own_strategies
from tools.prepare.pipeline import __doc__ as pipeline
from tools.prepare.schema import help_text, schema

DOCUMENT = (Path(__file__).parents[4] / "docs/data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "strategy", [each for each in own_strategies() if each.published_fields], ids=str
)
def test_the_document_and_the_help_have_every_declared_field(strategy) -> None:
    for row in schema(strategy):
        assert f"| {' | '.join(row)} |" in DOCUMENT
        assert f"- {row[0]}: {row[1]}" in help_text(strategy, "")


def test_the_document_explains_each_flag_and_reason() -> None:
    assert pipeline
    named = [part.split(":")[0].strip() for part in pipeline.split("`")[1::2]]
    assert len(named) > 20
    for name in named:
        assert f"`{name}" in DOCUMENT or name in ("strict", "### Input"), name
