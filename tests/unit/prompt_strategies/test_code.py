"""The Axolotl strategy of the code track: prompt and solution as they are."""

import json
from pathlib import Path

import axolotl.prompt_strategies
import pytest
from datasets import Dataset

from prompt_strategies.tokenise import IGNORE_INDEX, decode, encode_prompts
from tools.code.bases import train_tokenizer
from tools.prepared_rows import encode_entry
from tools.recipe import Recipe

PROMPT = 'import math\n\n\ndef add(a, b):\n    """Add </s> two.\n\n    >>> add(1, 2)\n    """\n'
SOLUTION = "    total = a  +  b\n\n    if a:\n\treturn total != b\n    return total"  # no newline
ROW = {"id": "he_53", "prompt": PROMPT, "solution": SOLUTION}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    """The tokenizer of the code bases, trained on the tests."""
    documents = tmp_path_factory.mktemp("corpus") / "train.jsonl"
    texts = [
        path.read_text()
        for path in sorted(Path(__file__).parents[1].glob("tools/prepare/test_*.py"))
    ]
    documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return train_tokenizer(documents, 1024)


def encode(tokenizer, row: dict[str, str], cfg: dict | None = None) -> dict:
    strategy = axolotl.prompt_strategies.load(
        "prompt_strategies.code", tokenizer, {"sequence_len": 512, **(cfg or {})}, {"path": "r"}
    )
    [encoded] = strategy.wrap_dataset(Dataset.from_list([row]))
    return encoded


def trained(tokenizer, encoded: dict) -> list[int]:
    return [label for label in encoded["labels"] if label != IGNORE_INDEX]


def test_the_text_is_prompt_and_solution_alone(tokenizer) -> None:
    assert decode(tokenizer, encode(tokenizer, ROW)["input_ids"]) == PROMPT + SOLUTION


def test_solution_and_eos_alone_carry_loss(tokenizer) -> None:
    labels = trained(tokenizer, encode(tokenizer, ROW))
    assert labels[-1] == tokenizer.eos_token_id
    assert decode(tokenizer, labels) == SOLUTION


def test_the_whole_text_carries_loss_if_the_recipe_says_so(tokenizer) -> None:
    labels = trained(tokenizer, encode(tokenizer, ROW, {"train_on_inputs": True}))
    assert decode(tokenizer, labels) == PROMPT + SOLUTION


def test_the_prompt_is_generated_from_as_it_was_trained(tokenizer) -> None:
    [prompt] = encode_prompts(tokenizer, [PROMPT])
    encoded = encode(tokenizer, ROW)
    assert encoded["input_ids"][: len(prompt)] == prompt
    assert encoded["labels"][len(prompt) - 1 : len(prompt) + 1] == [
        IGNORE_INDEX,
        encoded["input_ids"][len(prompt)],
    ]


@pytest.mark.parametrize("solution", ["\n    pass", "\treturn a", "    '''x'''\n", "\n\n    x\n"])
def test_no_token_lies_across_the_end_of_a_prompt(tokenizer, solution: str) -> None:
    labels = trained(tokenizer, encode(tokenizer, ROW | {"solution": solution}))
    assert decode(tokenizer, labels) == solution


def test_a_part_of_the_row_cannot_be_chosen(tokenizer) -> None:
    with pytest.raises(ValueError, match="roles_to_train"):
        axolotl.prompt_strategies.load(
            "prompt_strategies.code",
            tokenizer,
            {"sequence_len": 512},
            {"path": "r", "roles_to_train": ["output"]},
        )


@pytest.mark.parametrize("column", ["prompt", "solution"])
def test_a_row_without_a_column_is_named(tokenizer, column: str) -> None:
    row = {key: value for key, value in ROW.items() if key != column}
    with pytest.raises(ValueError, match=f"no column {column}"):
        encode(tokenizer, row)


def test_prepared_rows_are_read_and_encoded(tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    entry = {"path": str(path), "type": "prompt_strategies.code"}
    recipe = Recipe(tmp_path / "recipe.yml", {"sequence_len": 512, "datasets": [entry]})
    [(ids, labels)] = encode_entry(recipe, entry, tokenizer)
    assert (ids.tolist(), labels.tolist()) == tuple(
        encode(tokenizer, ROW)[key] for key in ("input_ids", "labels")
    )
