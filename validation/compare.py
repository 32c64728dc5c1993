"""Compares runs, or checks of one run, on the rows that they share.

Each is compared with the first, row by row (`tools.intervals.paired`). Where two were checked on
other rows, their shares stand beside each other, and nothing is tested.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.errors import UserError
from tools.intervals import paired, paired_rates, wilson
from tools.results import (
    ROWS,
    CheckFile,
    GeneratedRow,
    Mode,
    RowNll,
    Selection,
    read_result,
    read_results,
)
from tools.training import run_record
from tools.training.run_record import Record
from validation.check.measures import labels


@dataclass(frozen=True)
class Compared:
    """A run, or one check of it, as its files tell it; what is not there is None or empty."""

    name: str
    record: Record | None
    selection: Selection | None
    check: CheckFile | None
    holds: dict[str, dict[str, dict[str, bool | None]]]  # by mode, row id and measure
    nlls: list[RowNll]


def compare(paths: Sequence[Path]) -> dict[str, Any]:
    """Compare run folders or their check*.json files, each with the first.

    Raises UserError if there are fewer than two, or if one holds nothing to compare.
    """
    if len(paths) < 2:
        raise UserError("name two runs to compare, or more: folders, or their check*.json files")
    every = [_read(path) for path in paths]
    first, *others = every
    return {
        "runs": [_shown(item) for item in every],
        "pairs": [
            {
                "of": item.name,
                "with": first.name,
                "other": list(_differences(first, item)),
                "perplexity": _perplexity(first, item),
                "measures": list(_measures(first, item)),
            }
            for item in others
        ],
    }


def _read(path: Path) -> Compared:
    run = path if path.is_dir() else path.parent
    file = run / "check.json" if path.is_dir() else path
    check = read_result(CheckFile, file, "cogex check")
    selection = read_result(Selection, run / "selection.json", "cogex select")
    if check is None and selection is None:
        raise UserError(f"{path}: is no run that was selected or checked; name its folder")
    lines = file.stem.replace("check", "generations", 1)
    files = {"reasoner": f"{lines}.jsonl", "emulator": f"{lines}-emulator.jsonl"}
    holds = {
        mode: {row.id: row.holds for row in read_results(GeneratedRow, run / name, "cogex check")}
        for mode, name in files.items()
    }
    nlls = read_results(RowNll, run / ROWS, "cogex select")
    return Compared(str(path), run_record.read(run), selection, check, holds, nlls)


def _shown(item: Compared) -> dict[str, Any]:
    selection = item.selection
    checkpoints = selection.checkpoints if selection else []
    best = next((each for each in checkpoints if selection and each.name == selection.best), None)
    return {
        "name": item.name,
        "model": item.check.model if item.check else None,
        "best": best.name if best else None,
        "perplexity": best.perplexity if best else None,
        "base_perplexity": selection.base.perplexity if selection else None,
        "shares": {
            mode: {
                key: {
                    "count": share.count,
                    "rows": share.rows,
                    "interval": list(wilson(share.count, share.rows)),
                }
                for key, share in section.measures.items()
                if share.rows
            }
            for mode, section in _modes(item)
        },
    }


def _modes(item: Compared) -> Iterator[tuple[str, Mode]]:
    if item.check:
        yield "reasoner", item.check
        if item.check.emulator:
            yield "emulator", item.check.emulator


def _differences(first: Compared, other: Compared) -> Iterator[str]:
    """Yield a sentence for each thing that makes the two hard to compare: base, data, keys."""
    if _on_other_rows(first, other):
        yield "they were checked on other rows: nothing is tested"
    scored = [item.selection.validation.sha256 for item in (first, other) if item.selection]
    if len(set(scored)) > 1:
        yield "their perplexities are of other rows"
    if first.record is None or other.record is None:
        yield "run.json is not there, so that other recipes or data would not be seen"
        return
    yield from run_record.differences(first.record, other.record)


def _on_other_rows(first: Compared, other: Compared) -> bool:
    return len({item.check.validation_sha256 for item in (first, other) if item.check}) > 1


def _perplexity(first: Compared, other: Compared) -> dict[str, Any] | None:
    """How many times the first's perplexity is the other's, with the 95% interval.

    None where they are not of the same tokens of the same rows.
    """
    hashes = {item.selection.validation.sha256 for item in (first, other) if item.selection}
    sizes, others = ([row.tokens for row in item.nlls] for item in (first, other))
    if len(hashes) > 1 or sizes != others or len(sizes) < 2 or not sum(sizes):
        return None
    before, after = ([row.nll for row in item.nlls] for item in (first, other))
    try:
        times, low, high = map(math.exp, paired_rates(before, after, sizes))
    except OverflowError:  # no perplexity of a model that was trained
        return None
    return {"times": times, "interval": [low, high], "differs": not low <= 1 <= high}


def _measures(first: Compared, other: Compared) -> Iterator[dict[str, Any]]:
    """Yield each measure that both have, on the rows that both have."""
    if not other.check or _on_other_rows(first, other):
        return
    for mode, section in _modes(first):
        old, new = first.holds[mode], other.holds[mode]
        ids = [name for name in old if name in new]
        for key in section.measures:
            judged = [
                (bool(before), bool(after))
                for name in ids
                for before, after in [(old[name].get(key), new[name].get(key))]
                if before is not None and after is not None
            ]
            if judged:
                label = f"{mode}: {labels(other.check.task, mode)[key]}"
                found = paired(*zip(*judged, strict=True))
                yield {"mode": mode, "measure": key, "label": label, **found}


def print_compared(result: dict[str, Any], console: Console) -> None:
    """Print the runs beside each other, then each pair with what differs."""
    table = Table("", *(run["name"] for run in result["runs"]), title="Runs")
    table.add_row("best checkpoint", *(str(run["best"] or "-") for run in result["runs"]))
    for key in ("base_perplexity", "perplexity"):
        shown = [f"{run[key]:.5f}" if run[key] else "-" for run in result["runs"]]
        table.add_row(key.replace("_", " "), *shown)
    console.print(table)
    for pair in result["pairs"]:
        console.print(f"{pair['of']} beside {pair['with']}", markup=False, style="bold")
        for sentence in pair["other"]:
            console.print(f"  {sentence}", markup=False, soft_wrap=True)
        if found := pair["perplexity"]:
            low, high = found["interval"]
            differs = "differs" if found["differs"] else "no difference is shown"
            console.print(
                f"  perplexity: {found['times']:.4f} times the first's "
                f"(95% interval {low:.4f} to {high:.4f}): {differs}",
                soft_wrap=True,
            )
        if pair["measures"]:
            console.print(_table(result, pair))


def _table(result: dict[str, Any], pair: dict[str, Any]) -> Table:
    table = Table("measure", "rows", "first", "this", "difference, 95% interval", "p", "differs")
    shares = {run["name"]: run["shares"] for run in result["runs"]}
    for item in pair["measures"]:
        mode, key = item["mode"], item["measure"]
        of = [shares[name].get(mode, {}).get(key) for name in (pair["with"], pair["of"])]
        low, high = item["interval"]
        table.add_row(
            item["label"],
            str(item["rows"]),
            *(f"{share['count'] / share['rows']:.1%}" if share else "-" for share in of),
            f"{item['difference']:+.1%} ({low:+.1%} to {high:+.1%})",
            f"{item['p_value']:.3f}",
            "yes" if item["differs"] else "",
        )
    return table
