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


def encode(tokenizer, row: dict[str, str]) -> dict:
    strategy = axolotl.prompt_strategies.load(
        "prompt_strategies.code", tokenizer, {"sequence_len": 512}, {"path": "r"}
    )
    [encoded] = strategy.wrap_dataset(Dataset.from_list([row]))
    return encoded


@pytest.mark.parametrize(
    "solution", [SOLUTION, "\n    pass", "\treturn a", "    '''x'''\n", "\n\n    x\n"]
)
def test_the_prompt_is_generated_from_as_it_was_trained(tokenizer, solution: str) -> None:
    [prompt] = encode_prompts(tokenizer, [PROMPT])
    encoded = encode(tokenizer, ROW | {"solution": solution})
    assert encoded["input_ids"][: len(prompt)] == prompt
    assert encoded["labels"].count(IGNORE_INDEX) == len(prompt)
    trained = decode(tokenizer, encoded["labels"][len(prompt) :], after=prompt)
    assert PROMPT.endswith('"""\n') and trained == "\n" + solution
    assert encoded["labels"][-1] == tokenizer.eos_token_id


def test_prepared_rows_are_read_and_encoded(tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    entry = {"path": str(path), "type": "prompt_strategies.code"}
    recipe = Recipe(tmp_path / "recipe.yml", {"sequence_len": 512, "datasets": [entry]})
    [(ids, labels)] = encode_entry(recipe, entry, tokenizer)
    assert (ids.tolist(), labels.tolist()) == tuple(
        encode(tokenizer, ROW)[key] for key in ("input_ids", "labels")
    )
