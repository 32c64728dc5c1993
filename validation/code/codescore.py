"""Scores generated code against reference code: CodeBERTScore, CodeJudge, and how they agree.

The code is what the base, one checkpoint or all checkpoints of a recipe write for its test rows, or
pairs made elsewhere. The folder of results has `NAME.jsonl` for each model (a pair a line, with its
scores) and `codescore.json`. Candidates, embeddings' scores and verdicts are kept under the hash of
all that decides them, and are not made again.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from prompt_strategies.tokenise import encode_prompts
from tools.code.tasks import read_published, strings
from tools.endpoint import Endpoint
from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl
from tools.generate import generate
from tools.kept import Kept, digest
from tools.models import (
    SharedBase,
    device,
    load_base,
    load_recipe_tokenizer,
    quantization,
    writing_dtype,
)
from tools.prepare.fields import RejectedError, refuse_surrogates
from tools.prepared_rows import declared_strategy, load_strategy, read_prepared_rows
from tools.recipe import Recipe
from tools.server_answer import CHARACTERS_PER_TOKEN, KEY
from validation.code.codebertscore import (
    BertScore,
    Encoder,
    Pair,
    load_encoder,
    rescaled,
    score_pairs,
)
from validation.code.codejudge import Judge, Judgement, summarise
from validation.selection.checkpoints import checkpoints, file_hashes, left_out
from validation.selection.score_cache import SCORING, base_identity

AUGMENTED = "-augmented"  # suffix of the folder of augmented rows
# each metric, and the published evaluator whose rules are its own; docs/arxivdl.md has what differs
METRICS = {
    "codebertscore": "neulab/code-bert-score 0.4.1",
    "codejudge": "VichyTong/CodeJudge",
}
RESAMPLES = 10_000
ROWS = 200  # test rows that are scored unless more or fewer are asked for
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
FOLDER = "codescore"
VERDICTS = "verdicts.jsonl"
OPENAI = "https://api.openai.com/v1"


class Written(NamedTuple):
    """What writes code: an adapter's folder and files, or the base."""

    name: str
    folder: Path | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class Metrics:
    """The metrics to compute; None for one that is not asked for."""

    encoder: Encoder | None = None
    judge: Judge | None = None


def make_metrics(
    names: str,
    *,
    encoder: str,
    layer: int,
    base_url: str,
    judge_model: str,
    budget: int,
    concurrency: int,
    console: Console,
) -> Metrics:
    """Return the metrics of a list such as `codebertscore,codejudge`; this loads the encoder.

    Raises UserError for an unknown name, an encoder that cannot be loaded, or a missing key.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()]
    if not asked or not set(asked) <= METRICS.keys():
        raise UserError(f"--metrics {names}: name {' or '.join(METRICS)}, or both with a comma")
    judge: Judge | None = None
    if "codejudge" in asked:
        if base_url == OPENAI and not os.environ.get(KEY):
            raise UserError(f"{base_url}: put your key in {KEY}, or name another --base-url")
        endpoint = Endpoint(base_url, judge_model, concurrency)
        judge = Judge(endpoint, budget, partial(console.print, markup=False))
    return Metrics(load_encoder(encoder, layer) if "codebertscore" in asked else None, judge)


def codescore(
    recipe: Recipe,
    metrics: Metrics,
    *,
    model: str,
    subset_size: int | None = None,
    augmented: bool = False,
    adapter: str | None = None,
) -> dict[str, Any]:
    """Score the first `subset_size` test rows as `model` writes them; return codescore.json.

    Without a size these are 200 rows, or all that there are. `model` is `base`, `best`,
    `checkpoint-N` or `all`: the base and every whole checkpoint. An `adapter`, a folder or a
    repository of the hub, is scored in its place. With `augmented` the input of each row is the
    rest of its file. Raises UserError if there are no such rows or models.
    """
    path = test_path(recipe, augmented)
    every = read_prepared_rows(path, ("id", "instruction", "input", "output"))
    rows = _first(path, every, subset_size) if subset_size else every[:ROWS]
    folder = recipe.output_dir / (FOLDER + (AUGMENTED if augmented else ""))
    asked = [_adapter(adapter)] if adapter else _models(recipe, model)
    written = dict(_generated(recipe, asked, rows, folder, metrics.judge))
    models = _score_models(written, [row["id"] for row in rows], metrics, folder)
    about = {"recipe": str(recipe.path), "test": _identity(path, rows)}
    return _result(folder, models, about | {"left_out": left_out(recipe) if model == "all" else []})


def codescore_pairs(path: Path, metrics: Metrics, subset_size: int | None) -> dict[str, Any]:
    """Score the pairs of a file; write the results into the folder `codescore-NAME` beside it."""
    every = read_published(path, "pairs").rows
    rows = _first(path, every, subset_size) if subset_size else every
    pairs = [_pair(path, number, row) for number, row in enumerate(rows, 1)]
    folder = path.with_name(f"{FOLDER}-{path.stem}")
    names = [str(index) for index in range(len(pairs))]
    models = _score_models({path.stem: pairs}, names, metrics, folder)
    return _result(folder, models, {"pairs": _identity(path, pairs)})


def _first[Row](path: Path, rows: Sequence[Row], size: int) -> Sequence[Row]:
    if size > len(rows):
        raise UserError(
            f"--subset-size {size:,}: {path} has {len(rows):,} rows; give a smaller one"
        )
    return rows[:size]


def _pair(path: Path, number: int, row: Any) -> Pair:
    try:
        pair = Pair(*strings(row, "candidate", "reference", "instruction"))
        for name, text in vars(pair).items():
            refuse_surrogates(name, text)
    except RejectedError as reason:
        raise UserError(
            f"{path}, pair {number}: {reason}; a pair has the texts candidate, reference and "
            "instruction: correct it there"
        ) from None
    return pair


def test_path(recipe: Recipe, augmented: bool) -> Path:
    """Return the path of a recipe's test rows: `test.jsonl` beside its training rows.

    With `augmented` it is in the folder of the same size below the one that ends in `-augmented`.
    Raises UserError if the recipe's rows are not those of ArXivDLInstruct.
    """
    strategy = declared_strategy(recipe, recipe.training)
    if strategy is None or strategy.dataset != "arxivdl":
        raise UserError(
            f"{recipe.path}: codescore needs the test rows of ArXivDLInstruct, and this recipe has "
            f"`type: {recipe.training.get('type')}`; give your own pairs with --pairs"
        )
    folder = Path(recipe.training["path"]).parent
    if augmented and not folder.parent.name.endswith(AUGMENTED):
        folder = folder.parent.with_name(folder.parent.name + AUGMENTED) / folder.name
    path = folder / "test.jsonl"
    if not path.is_file():
        option = " --augmented" if folder.parent.name.endswith(AUGMENTED) else ""
        raise UserError(
            f"{path}: there is no such file; run `cogex prepare arxivdl{option} --out "
            f"{folder.parent}`"
        )
    return path


def _score_models(
    written: dict[str, list[Pair]], ids: Sequence[str], metrics: Metrics, folder: Path
) -> dict[str, Any]:
    """Score the pairs of each model; one estimate and one budget cover all that is judged."""
    every = [pair for pairs in written.values() for pair in pairs]
    scored: dict[str, Sequence[Any]] = {}
    if metrics.judge:
        scored["codejudge"] = metrics.judge.judge(every, Kept(folder / VERDICTS))
    if metrics.encoder:
        kept = Kept(folder / "codebertscore.jsonl")
        scored["codebertscore"] = _bert_scores(metrics.encoder, every, kept)
    models = {}
    for at, (name, pairs) in enumerate(written.items()):
        own = slice(at * len(ids), (at + 1) * len(ids))
        found = {metric: values[own] for metric, values in scored.items()}
        lines = [
            {"id": each, **vars(pair), **{metric: vars(found[metric][row]) for metric in found}}
            for row, (each, pair) in enumerate(zip(ids, pairs, strict=True))
        ]
        write_jsonl(folder / f"{name}.jsonl", lines)
        models[name] = {"pairs": len(pairs), **_sum_up(**found)}
    return models


def _sum_up(
    codebertscore: Sequence[BertScore] = (), codejudge: Sequence[Judgement] = ()
) -> dict[str, Any]:
    """Return one model's figures by each metric."""
    result: dict[str, Any] = {}
    if codebertscore:
        result["codebertscore"] = _mean_scores(codebertscore)
    if codejudge:
        passes = [float(verdict.status == "correct") for verdict in codejudge]
        summary = summarise(codejudge)
        interval = bootstrap(passes) if summary["judged"] else None
        result["codejudge"] = summary | {"interval": interval}
    if codebertscore and codejudge:
        result["agreement"] = agreement([score.f1 for score in codebertscore], codejudge)
    return result


def bootstrap(values: Sequence[float], seed: int = 42) -> list[float]:
    """Return the 95% percentile interval of the mean, from resampled rows."""
    rng, rows = np.random.default_rng(seed), np.asarray(values)
    means = [rows[rng.integers(len(rows), size=len(rows))].mean() for _ in range(RESAMPLES)]
    return [float(edge) for edge in np.quantile(means, [0.025, 0.975])]


def agreement(f1: Sequence[float], judged: Sequence[Judgement]) -> dict[str, Any]:
    """Measure how well F1 separates what the judge calls correct from what it calls incorrect.

    `auc` is the share of (correct, incorrect) pairs of rows in which the correct row has the higher
    F1; a tie counts half (Mann-Whitney). It is None if there is no row of one kind. Rows with
    another status do not count.
    """
    correct = [value for value, item in zip(f1, judged, strict=True) if item.status == "correct"]
    wrong = [value for value, item in zip(f1, judged, strict=True) if item.status == "incorrect"]
    better = sum((a > b) + (a == b) / 2 for a in correct for b in wrong)
    comparable = len(correct) * len(wrong)
    return {
        "rows": len(correct) + len(wrong),
        "auc": better / comparable if comparable else None,
        "mean_f1_correct": sum(correct) / len(correct) if correct else None,
        "mean_f1_incorrect": sum(wrong) / len(wrong) if wrong else None,
    }


def print_codescore(result: dict[str, Any], console: Console) -> None:
    """Print a table of the models; docs/arxivdl.md has the original study's figures."""
    table = Table("model", "pairs", "F1", "rescaled", "F3", "CodeJudge", "judged", "AUC")
    for name, model in result["models"].items():
        bert, judge = model.get("codebertscore"), model.get("codejudge")
        auc = model.get("agreement", {}).get("auc")
        table.add_row(
            name,
            f"{model['pairs']:,}",
            _with_interval(bert["f1"], bert["interval"]) if bert else "-",
            f"{bert['f1_rescaled']:.3f}" if bert else "-",
            f"{bert['f3']:.3f}" if bert else "-",
            _with_interval(judge["score"], judge["interval"]) if judge else "-",
            f"{judge['judged']:,} of {judge['pairs']:,}" if judge else "-",
            f"{auc:.2f}" if auc is not None else "-",
        )
    console.print(table)
    for name, model in result["models"].items():
        for line in _remarks(model.get("codejudge")):
            console.print(f"{name}: {line}", markup=False, soft_wrap=True)
    for item in result.get("left_out", []):
        told = f"{item['name']} is left out: {item['status']}, {item['reason']}"
        console.print(told, markup=False, soft_wrap=True)
    console.print(f"Written: {result['folder']}", markup=False)


def _remarks(judge: dict[str, Any] | None) -> Iterator[str]:
    """Yield what to know of a model's verdicts."""
    if judge is None:
        return
    for why, count in judge["reasons"].items():
        yield f"{count:,} not judged: {why}"
    if judge["suspect"]:
        yield f"{judge['suspect']:,} suspect: the code speaks to its judge"
    for what in judge["requests_without"]:
        yield f"the judge's server does not take {what}"


def _with_interval(value: float | None, interval: Sequence[float]) -> str:
    if value is None:
        return "not judged"
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _result(folder: Path, models: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    result = about | {"folder": str(folder), "models": models}
    found = {metric for section in models.values() for metric in section}
    result["references"] = {name: told for name, told in METRICS.items() if name in found}
    write_json(folder / "codescore.json", result)
    return result


def _identity(path: Path, rows: Sequence[Any]) -> dict[str, Any]:
    return {"path": str(path), "sha256": sha256(path), "rows": len(rows)}


def _generated(
    recipe: Recipe,
    models: Sequence[Written],
    rows: Sequence[dict[str, str]],
    folder: Path,
    judge: Judge | None,
) -> Iterator[tuple[str, list[Pair]]]:
    """Yield name and pairs of each model that is asked for; the base is loaded once.

    Raises UserError before anything is generated if judging it may cost more than the budget.
    """
    tokenizer = load_recipe_tokenizer(recipe)
    strategy = load_strategy(recipe, recipe.training, tokenizer)
    prompts = [strategy.render(row).prompt for row in rows]
    kept = Kept(folder / "candidates.jsonl")
    dtype = writing_dtype(recipe)
    load = partial(load_base, recipe.base_model, quantization(recipe), dtype)
    base = SharedBase(load, recipe.values.get("seed"))
    deciding = {
        "scoring": SCORING,
        "seed": recipe.values.get("seed"),
        "prompts": encode_prompts(tokenizer, prompts),
        "special_tokens": tokenizer.special_tokens_map,
        "base": base_identity(recipe.base_model),
        "quantization": quantization(recipe),
        "sequence_len": recipe.sequence_len,
        "dtype": str(dtype),
        "device": device().type,
    }
    planned = [
        (name, path, digest(deciding | {"files": file_hashes(path, files) if path else {}}))
        for name, path, files in models
    ]
    if judge:
        length = recipe.sequence_len * CHARACTERS_PER_TOKEN
        candidates = [
            kept.get(key) or [f"{name:.<{length}}"] * len(rows) for name, _, key in planned
        ]
        pairs = [pair for texts in candidates for pair in _pairs(texts, rows)]
        if judge.to_ask(pairs, Kept(folder / VERDICTS)):
            judge.endpoint.knock()
    for name, path, key in planned:
        if kept.get(key) is None:
            with base.with_adapter(path) as loaded:
                kept.put(key, _write_code(loaded, tokenizer, prompts, recipe))
            del loaded  # makes room where the base is loaded again
        yield name, _pairs(kept.get(key), rows)


def _pairs(candidates: Sequence[str], rows: Sequence[dict[str, str]]) -> list[Pair]:
    return [
        Pair(text, row["output"], row["instruction"])
        for text, row in zip(candidates, rows, strict=True)
    ]


def _models(recipe: Recipe, model: str) -> list[Written]:
    """Return what writes, by its name. Raises UserError if there is none."""
    found: list[Written] = [Written("base", None, ())] if model in ("base", "all") else []
    if model == "base":
        return found
    if recipe.adapter is None:
        raise UserError(f"{recipe.path}: trains no adapter; codescore scores adapters and bases")
    if model == "best":
        return [_adapter(str(recipe.output_dir / "best"))._replace(name="best")]
    asked = [item for item in checkpoints(recipe) if model in ("all", item.name)]
    whole = [Written(item.name, item.path, item.files) for item in asked if item.status == "ok"]
    if not whole:
        why = [f"{item.name} is {item.status}: {item.reason}" for item in asked]
        raise UserError(
            f"{recipe.output_dir}: no usable {model} ({'; '.join(why) or 'there is none'}); "
            "name base, best, checkpoint-N or all"
        )
    return [*found, *whole]


def _adapter(name: str) -> Written:
    """Return the adapter of a folder, or of a repository of the hub, which is downloaded."""
    folder = Path(name)
    if not folder.is_dir():
        folder = _downloaded(name)
    if missing := [file for file in ADAPTER_FILES if not (folder / file).is_file()]:
        raise UserError(f"{name}: holds no {missing[0]}; name an adapter's folder or repository")
    return Written(Path(name).name, folder, ADAPTER_FILES)


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(ADAPTER_FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: is no folder here, and the hub does not bring it: {what}; name an adapter's "
            "folder, or its repository as owner/name"
        ) from None


def _write_code(model: Any, tokenizer: Any, prompts: Sequence[str], recipe: Recipe) -> list[str]:
    """Return the model's code for each prompt; it is empty if the prompt fills the context."""
    made = generate(model, tokenizer, prompts, max_length=recipe.sequence_len)
    return [item.text for item in made]


def _bert_scores(encoder: Encoder, pairs: Sequence[Pair], kept: Kept) -> list[BertScore]:
    """Return the score of each pair; new ones are computed and kept."""
    keys = [digest([encoder.identity, *vars(pair).values()]) for pair in pairs]
    new = {key: pair for key, pair in zip(keys, pairs, strict=True) if kept.get(key) is None}
    for key, score in zip(new, score_pairs(encoder, list(new.values())), strict=True):
        kept.put(key, vars(score))
    return [BertScore(**kept.get(key)) for key in keys]


def _mean_scores(scores: Sequence[BertScore]) -> dict[str, Any]:
    """Return the means over the pairs; rescaling is linear, so it applies to the mean too."""
    means = {
        name: sum(vars(score)[name] for score in scores) / len(scores) for name in vars(scores[0])
    }
    interval = bootstrap([score.f1 for score in scores])
    return means | {"f1_rescaled": rescaled(means["f1"]), "interval": interval}
