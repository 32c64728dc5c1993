"""Checkpoints and kept scores through `cogex select`, and its files through report and card."""

import json
import math
import os
import random
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate, spoil
from tests.unit.made_run import RUN, make_run
from tools.models import load_base
from tools.recipe import Recipe
from validation.report.model_card import write_model_card
from validation.report.report import report
from validation.selection import select as module
from validation.selection.checkpoints import ADAPTER, ADAPTER_CONFIG, STATE
from validation.selection.perplexity import Score
from validation.selection.score_cache import NAME as SCORES
from validation.selection.score_cache import digest
from validation.selection.select import select

TOKENS = 1000
SHOWN = ("selection.json", "check.json", "generations.jsonl", "best/checkpoint.json")
EVERY = 100  # of the mutations that are shown: a page takes a second


def fuzz_selection(rng: random.Random, count: int, findings: Findings) -> None:
    """best/ is the sound checkpoint with the lowest score, byte for byte; half go to the report."""
    Path("selected").mkdir()
    os.chdir("selected")
    recipe = make_run(Path.cwd())
    base = load_base("models/tiny-base")
    (RUN / SCORES).unlink()
    with (
        patch.object(module, "load_base", return_value=base),
        patch.object(module, "score", lambda model, _: _score(model.state_dict())),
    ):
        select(recipe)
        whole = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
        for _ in range(0, count, 2):
            _fuzz_decision(rng, recipe, whole, findings)
        for number in range(0, count, 2):
            _fuzz_shown(rng, recipe, whole, findings, page=number % EVERY == 0)
    os.chdir("..")


def _score(weights: dict[str, torch.Tensor]) -> Score:
    """A score that hangs on each weight of an adapter, made in no time."""
    sums = [float(weight.double().sum()) for name, weight in weights.items() if "lora" in name]
    return Score(TOKENS * (1 + abs(math.fsum(sums)) / 100), TOKENS)


# ------------------------------------------------------------------------------ the decision


def _fuzz_decision(
    rng: random.Random, recipe: Recipe, whole: dict[Path, bytes], findings: Findings
) -> None:
    path = rng.choice([*RUN.glob("checkpoint-*/*"), RUN / SCORES, RUN / "best" / ADAPTER])
    path = path if path.name in (ADAPTER, ADAPTER_CONFIG, STATE, SCORES) else RUN / SCORES
    data = _spoilt(rng, path, whole[path])
    path.write_bytes(data)
    kept_is_whole = path.name != SCORES or rng.random() < 0.5
    if not kept_is_whole:
        kept_is_whole = not _seal(path)
    with findings.attempt("selection", (path, data[:500])):
        result = select(recipe)
        written = json.loads((RUN / "selection.json").read_text())
        assert written == result
        assert all(item["status"] == "ok" or item["reason"] for item in result["checkpoints"])
        if kept_is_whole:
            _look_at(result)
        write_model_card(recipe)
    _restore(whole)


def _spoilt(rng: random.Random, path: Path, data: bytes) -> bytes:
    if path.suffix == ".safetensors" or rng.random() < 0.3:
        return spoil(rng, data)
    return json.dumps(mutate(rng, json.loads(data))).encode()


def _seal(path: Path) -> bool:
    """Give scores a checksum that holds; say whether they have one then."""
    try:
        content = json.loads(path.read_bytes())
        content["sha256"] = digest(content["scores"])
        path.write_text(json.dumps(content))
    except (ValueError, TypeError, KeyError):
        return False
    return True


def _look_at(result: dict[str, Any]) -> None:
    """The winner has the lowest score of those that are ok, each made again from its file."""
    scores = {}
    for item in result["checkpoints"]:
        if item["status"] == "ok":
            scores[item["name"]] = _score(_weights(RUN / item["name"] / ADAPTER)).perplexity
            assert math.isclose(item["perplexity"], scores[item["name"]], rel_tol=1e-12)
    if not scores:
        assert result["best"] is None
        return
    assert result["best"] == min(scores, key=lambda name: scores[name])
    for name in (ADAPTER, ADAPTER_CONFIG):
        assert (RUN / "best" / name).read_bytes() == (RUN / result["best"] / name).read_bytes()


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise AssertionError(f"{path} is called ok") from error


# ------------------------------------------------------------------------------ what is shown


def _fuzz_shown(
    rng: random.Random, recipe: Recipe, whole: dict[Path, bytes], findings: Findings, page: bool
) -> None:
    path = RUN / rng.choice(SHOWN)
    lines = whole[path].split(b"\n") if path.suffix == ".jsonl" else [whole[path]]
    at = rng.randrange(len(lines))
    lines[at] = _spoilt(rng, path, lines[at] or b"{}")
    path.write_bytes(b"\n".join(lines))
    with findings.attempt("shown", (path, lines[at][:500])):
        card = write_model_card(recipe).read_text(encoding="utf-8")
        figures = card.partition("## Figures")[2].partition("## Training")[0]
        assert not {"nan", "inf", "nan%", "inf%"} & {*figures.replace("*", " ").split()}
        assert all(0 <= float(share) <= 100 for share in _shares(figures))
        if page:
            report(recipe)
    _restore(whole)


def _shares(text: str) -> list[str]:
    return [word.removesuffix("%") for word in text.split() if word.endswith("%")]


def _restore(whole: dict[Path, bytes]) -> None:
    for path, data in whole.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
