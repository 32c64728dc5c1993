"""Tokenizer and architecture of the code bases."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tools.code.bases import (
    SIZES,
    Size,
    architecture,
    train_tokenizer,
    write_bases,
)
from tools.errors import UserError

ROOT = Path(__file__).parents[4]
SOURCES = [path.read_text() for path in sorted((ROOT / "tools").glob("*.py"))]
MILLIONS = {"tiny": 1, "29m": 29, "52m": 52, "88m": 88, "105m": 105}
SMALL = Size(vocabulary=600, layers=1, hidden=32, mlp=64, head=16)
EXACT = (
    'def naïve(x):\r\n\tif x  !=  3: return f"Ω{x}"  # </s>\n\n\n        return HTTPServer_2\x0c'
)


def corpus(folder: Path, texts: list[str] = SOURCES) -> Path:
    """Write a corpus as `cogex prepare python-corpus` does."""
    folder.mkdir(exist_ok=True)
    lines = (json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    (folder / "train.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return train_tokenizer(corpus(tmp_path_factory.mktemp("corpus")) / "train.jsonl", 600)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with a small vocabulary: the tests have too little text for 8,192 pieces."""
    folder = tmp_path_factory.mktemp("bases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.code.bases.SIZES", {"one": SMALL})
        assert write_bases(corpus(folder / "corpus"), folder) == {"one": 29_536}
    return folder


@pytest.mark.parametrize(
    ("name", "layers", "hidden"),
    [("tiny", 4, 128), ("29m", 8, 512), ("52m", 20, 512), ("88m", 16, 768), ("105m", 12, 1024)],
)
def test_layers_and_width_are_the_plans_and_parameters_those_of_the_name(
    tokenizer, name: str, layers: int, hidden: int
) -> None:
    shape = architecture(SIZES[name], tokenizer)
    assert (shape.num_hidden_layers, shape.hidden_size) == (layers, hidden)
    assert shape.vocab_size == (2048 if name == "tiny" else 8192)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    assert round(model.num_parameters() / 1e6) == MILLIONS[name]


def test_a_base_is_a_folder_that_transformers_loads(bases: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bases / "one")
    shape = AutoConfig.from_pretrained(bases / "one")
    assert len(tokenizer) == shape.vocab_size == 600
    assert (shape.bos_token_id, shape.eos_token_id, shape.pad_token_id) == (0, 1, 2)
    assert tokenizer.all_special_tokens == ["<s>", "</s>", "<pad>"]
    ids = tokenizer(EXACT, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids[1:]) == EXACT


def test_how_a_text_is_cut_into_tokens(tokenizer) -> None:
    ids = tokenizer("x = 1")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.eos_token_id not in ids
    assert tokenizer.tokenize("1024") == ["1", "0", "2", "4"]
    pieces = tokenizer.tokenize('    """Add."""\n\n        return a\n')
    assert pieces.count("Ċ") == 3  # a newline is a token of its own
    assert not [piece for piece in pieces if "Ċ" in piece and piece != "Ċ"]
    alone = tokenizer.tokenize("numbers")  # a word is the same tokens wherever it stands
    for before, after in (("(", ","), (" ", " "), ("\n", "["), ("_", "_")):
        pieces = tokenizer.tokenize(before + "numbers" + after)
        assert pieces[1 : 1 + len(alone)] == alone


def test_too_small_a_corpus_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, ["x = 1\n"]) / "train.jsonl"
    with pytest.raises(UserError, match=r"train\.jsonl: makes 2\d\d pieces where 600 are needed"):
        train_tokenizer(path, 600)


@pytest.mark.parametrize("content", [None, "{", "[1]\n", '{"text": 1}\n'])
def test_what_is_no_corpus_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="run `cogex prepare python-corpus` first"):
        train_tokenizer(path, 600)
