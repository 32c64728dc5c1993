"""Computes CodeBERTScore (arXiv 2302.05527): the similarity of code to a reference, by token.

Candidate and reference are encoded, each after the instruction. Each token is matched with the
token of the other text that has the nearest embedding (cosine). Precision is the mean over the
candidate's tokens, recall over the reference's; F1 and F3 combine them. The rules are those of the
authors' package `code-bert-score` 0.4.1 with its defaults and the instruction as `sources`:

- embeddings come from layer 11 of `neulab/codebert-python` (its `model2layers`);
- white space is left out, and tokens of punctuation without one of `+-*/&|~`; comments and
  docstrings stay, in the paper as in the package;
- a token may match BOS and EOS, but these do not count in the means; there is no idf;
- a text of more than 512 tokens is encoded in windows that overlap by half.

The package itself is not used. With transformers 5 it fails on an empty candidate; if a character
of the instruction has two tokens (a curly quote), it counts the rest as code; and a text's windows
depend on the other texts of the batch. All other scores are the package's:
tests/unit/validation/code/test_codebertscore.py has its scores with a tiny encoder.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import track
from safetensors import SafetensorError
from torch import Tensor

from tools.errors import UserError
from tools.models import device, load_tokenizer
from validation.selection.score_cache import base_identity

MODEL = "neulab/codebert-python"
LAYER = 11  # model2layers["neulab/codebert-python"] of code_bert_score/utils.py
MAX_LENGTH = 512  # RoBERTa's positions, without its two reserved ones
OVERLAP = 0.5  # of a window and the next
# the package's: operators say what a program does
_PUNCTUATION = set(string.punctuation) - set("+-*/&|~")
_SPACES = "\u0120\u010a\u0109"  # space, newline and tab as byte-level BPE writes them
# the package ships no baseline file; `rescale_with_baseline=True` then takes this one
_BASELINE = 0.5

Side = tuple[Tensor, Tensor]  # of a text: unit vectors (tokens, width), and which count (tokens,)


@dataclass(frozen=True)
class Pair:
    """Generated code, the reference, and the instruction that asked for it."""

    candidate: str
    reference: str
    instruction: str


@dataclass(frozen=True)
class BertScore:
    """Each from 0 to 1 unless embeddings point apart; 0 if either text has no token."""

    precision: float
    recall: float
    f1: float
    f3: float


@dataclass(frozen=True)
class Encoder:
    """A model without the layers above the one that is read, and its tokenizer."""

    model: Any
    tokenizer: Any
    identity: str  # names weights and layer


def load_encoder(name: str | Path, layer: int = LAYER) -> Encoder:
    """Load the encoder of a local folder or hub model up to `layer`.

    It reads only safetensors weights. Raises UserError if the encoder cannot be loaded, or has
    fewer layers.
    """
    tokenizer = load_tokenizer(name)
    if not tokenizer.is_fast or tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise UserError(f"{name}: its tokenizer gives no offsets, BOS or EOS; use one of RoBERTa")
    model = _load_model(name)
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    if layers is None or not 1 <= layer <= len(layers):
        held = "no RoBERTa layers" if layers is None else f"{len(layers)} layers"
        raise UserError(f"{name}: layer {layer} is read, and it has {held}; give --encoder-layer")
    del layers[layer:]
    return Encoder(model, tokenizer, f"{base_identity(str(name))}, layer {layer}")


def score_pairs(encoder: Encoder, pairs: Sequence[Pair]) -> list[BertScore]:
    """Return the score of each pair, in their order."""
    scores = []
    for pair in track(pairs, "CodeBERTScore", transient=True, disable=len(pairs) < 2):
        candidate, reference = (
            _encode(encoder, pair.instruction.strip(), code.strip())
            for code in (pair.candidate, pair.reference)
        )
        scores.append(match(*candidate, *reference))
    return scores


def match(
    candidate: Tensor, counts: Tensor, reference: Tensor, reference_counts: Tensor
) -> BertScore:
    """Match unit vectors of shape (tokens, width) greedily; `counts` says which are averaged.

    F3 is 10PR / (9P + R), as in METEOR. If no token counts, all scores are 0.
    """
    if not counts.any() or not reference_counts.any():
        return BertScore(0.0, 0.0, 0.0, 0.0)
    similarity = candidate @ reference.T
    precision = similarity.max(dim=1).values[counts].double().mean().item()
    recall = similarity.max(dim=0).values[reference_counts].double().mean().item()
    return BertScore(
        precision,
        recall,
        _ratio(2 * precision * recall, precision + recall),
        _ratio(10 * precision * recall, 9 * precision + recall),
    )


def rescaled(value: float) -> float:
    """Return a score as the package's `rescale_with_baseline=True` gives it."""
    return (value - _BASELINE) / (1 - _BASELINE)


def windows(length: int, limit: int = MAX_LENGTH) -> list[tuple[int, int, int, int]]:
    """Return (start, end, from, to) of each window: encode start:end, keep from:to of it.

    This is the rule of `get_window_indices` in the package, from SLED (Ivgi et al., 2022): each
    token is taken from a window in which it has context on both sides.
    """
    if length <= limit:
        return [(0, length, 0, length)]
    margin = int(limit * OVERLAP / 2)
    stride = limit - 2 * margin
    found = [(0, limit, 0, limit - margin)]
    end, kept = limit, limit - margin
    while end < length:
        end = min(length, end + stride)
        start = end - limit
        last = length if end == length else kept + stride
        found.append((start, end, kept - start, last - start))
        kept = last
    return found


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0


@torch.inference_mode()
def _encode(encoder: Encoder, instruction: str, code: str) -> Side:
    """Return the tokens of a text that are matched, on the CPU."""
    ids, kept, counts = _tokenize(encoder.tokenizer, instruction, code)
    row = torch.tensor([ids]).to(device())
    parts = [
        encoder.model(input_ids=row[:, start:end]).last_hidden_state[0, first:last].cpu()
        for start, end, first, last in windows(len(ids))
    ]
    vectors = torch.cat(parts)[kept].float()
    return torch.nn.functional.normalize(vectors, dim=-1), counts[kept]


def _tokenize(tokenizer: Any, instruction: str, code: str) -> tuple[list[int], Tensor, Tensor]:
    """Return ids with BOS and EOS, which tokens are matched, and which of them count.

    A token belongs to the code if its offset ends after the instruction.
    """
    before = f"{instruction} \n" if instruction else ""  # the package's own separator
    text = (before + code).strip()
    start = len(before) if code else len(text)
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
        verbose=False,
    )
    names = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    own = [end > start for _, end in encoded["offset_mapping"]]
    counts = [mine and not _is_punctuation(name) for mine, name in zip(own, names, strict=True)]
    ids = [tokenizer.cls_token_id, *encoded["input_ids"], tokenizer.sep_token_id]
    return ids, torch.tensor([True, *counts, True]), torch.tensor([False, *counts, False])


def _is_punctuation(token: str) -> bool:
    return all(character in _PUNCTUATION for character in token.strip(_SPACES))


def _load_model(name: str | Path) -> Any:
    try:
        model, report = transformers.AutoModel.from_pretrained(
            str(name), dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        what = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name}: no encoder with safetensors weights can be loaded from it: {what}. Run `hf "
            f"download {MODEL} --revision refs/pr/5 --local-dir FOLDER`, where its weights are "
            "safetensors, and give --encoder FOLDER"
        ) from None
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise UserError(f"{name}: lacks {len(missing)} weights, as {missing[0]}; is it whole?")
    return model.to(device()).eval()
