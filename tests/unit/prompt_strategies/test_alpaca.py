"""The Alpaca baseline has Stanford's templates."""

import pytest
from axolotl.prompters import AlpacaPrompter

from prompt_strategies.alpaca_layout import render_completion, render_prompt

# PROMPT_DICT of train.py in tatsu-lab/stanford_alpaca
STANFORD_NO_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


@pytest.mark.parametrize("input", ["wolf", "", " ", "a {instruction} {0}\n"])
def test_text_is_that_of_axolotls_own_alpaca(input: str) -> None:
    [text] = AlpacaPrompter().build_prompt("Say {it}.", input, "wolves")
    assert render_prompt("Say {it}.", input) + render_completion("wolves") == text


def test_prompt_is_stanfords_and_a_newline() -> None:
    assert render_prompt("Say it.") == STANFORD_NO_INPUT.format(instruction="Say it.") + "\n"
