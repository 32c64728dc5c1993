"""CodeBERTScore against the authors' package on the same tiny encoder."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.tiny_encoder import LAYERS, write_encoder
from tools.errors import UserError
from validation.code.codebertscore import (
    BertScore,
    Encoder,
    Pair,
    _tokenize,
    load_encoder,
    score_pairs,
)

LAYER = 2

CODE = "def add(left, right):\n    # the sum\n    return left + right"
OTHER = "def total(values):\n    return sum(values)"
PAIRS = [
    Pair(CODE, OTHER, "Write a function that returns the sum."),
    Pair(OTHER, CODE, ""),
    Pair(CODE, CODE, "Add."),
    Pair("x = a if b else c  # why not", "for i in range(3): pass", "Do it -- now!"),
    Pair("():,.", CODE, "Punctuation alone has no token that counts."),
]
LONG = "\n".join(f"value_{index} = compute({index}) + {index * 7}" for index in range(60))
LONG_PAIRS = [Pair(LONG, OTHER, "Write it out."), Pair(OTHER, LONG, "")]
QUOTES = ("'", "\u2019")  # the second is more than one token


def curly(mark: str) -> Pair:
    return Pair("x = 1", "for i in z: pass", f"It{mark}s an instruction that is long. " * 4)


ALL_PAIRS = [*PAIRS, *LONG_PAIRS, *map(curly, QUOTES)]
# Precision, recall, F1, F3 of each, by code-bert-score 0.4.1 on the encoder of tiny_encoder.py,
# with torch 2.13 and transformers 5.16: `code_bert_score.score([candidate], [reference],
# model_type=FOLDER, num_layers=LAYER, sources=[instruction])`, pair by pair, for a text's windows
# depend on the others of its batch. Without an instruction `sources` is None.
RECORDED = [
    [0.9222359, 0.9191927, 0.9207118, 0.9194962],
    [0.9463007, 0.9092892, 0.9274259, 0.9128596],
    [0.9999999, 0.9999999, 0.9999999, 0.9999999],
    [0.9768538, 0.9815423, 0.9791925, 0.9810714],
    [0.0, 0.0, 0.0, 0.0],
    [0.9229953, 0.9760365, 0.9487752, 0.9704596],
    [0.9739069, 0.9344343, 0.9537624, 0.9382371],
    [0.9562890, 0.9572974, 0.9567930, 0.9571965],
    [0.9848450, 0.9797211, 0.9822764, 0.9802311],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder, LAYER)


def numbers(score: BertScore) -> list[float]:
    return list(vars(score).values())


# against the package


def test_scores_are_the_packages(encoder: Encoder) -> None:
    """But for an instruction with a curly quote, which the package scores as code."""
    *pairs, quoted = ALL_PAIRS
    for score, theirs in zip(score_pairs(encoder, pairs), RECORDED[:-1], strict=True):
        assert numbers(score) == pytest.approx(theirs, abs=1e-5)
    [score] = score_pairs(encoder, [quoted])
    assert RECORDED[-1][2] - score.f1 > 0.01  # it matches the instruction with itself


# the encoder


def test_no_code_scores_zero(encoder: Encoder) -> None:
    [empty] = score_pairs(encoder, [Pair(" \n", CODE, "Add two numbers.")])
    assert numbers(empty) == [0, 0, 0, 0]


@pytest.mark.parametrize("mark", QUOTES)
def test_only_the_code_is_matched(encoder: Encoder, mark: str) -> None:
    ids, kept, counts = _tokenize(encoder.tokenizer, f"It{mark}s", "x = 1")
    names = encoder.tokenizer.convert_ids_to_tokens(ids)
    matched = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
    assert [name.strip("\u0120") for name in matched] == ["<s>", "x", "1", "</s>"]
    assert int(counts.sum()) == 2


def test_a_control_token_in_the_code_stays_text(encoder: Encoder) -> None:
    ids = _tokenize(encoder.tokenizer, "", "a = '</s>'")[0]
    assert (ids[0], ids[-1]) == (0, 2)
    assert not {0, 1, 2, 3, 4} & set(ids[1:-1])


def test_weights_and_layer_decide_score_and_identity(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][5:60] *= -1
    save_file(weights, tmp_path / "other/model.safetensors", {"format": "pt"})
    paths = ((folder, 1), (folder, LAYERS), (tmp_path / "other", 1))
    encoders = [load_encoder(path, layer) for path, layer in paths]
    assert len({each.identity for each in encoders}) == 3
    assert load_encoder(folder, 1).identity == encoders[0].identity
    found = [score_pairs(each, [Pair(CODE, OTHER, "")])[0].f1 for each in encoders]
    assert min(abs(found[0] - found[1]), abs(found[0] - found[2])) > 1e-3
    with pytest.raises(UserError, match="layer 11 is read, and it has 3 layers"):
        load_encoder(folder)


@pytest.mark.parametrize("change", ["pickle", "half"])
def test_weights_that_are_no_whole_safetensors_are_refused(
    folder: Path, tmp_path: Path, tiny_base: Path, change: str
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    if change == "pickle":
        torch.save(weights, tmp_path / "pytorch_model.bin")
    else:
        kept = {key: value for key, value in weights.items() if "layer.1." not in key}
        save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"safetensors weights can be|lacks 16 weights"):
        load_encoder(tmp_path, 2)
    with pytest.raises(UserError, match=r"gives no offsets|no RoBERTa layers"):
        load_encoder(tiny_base)
