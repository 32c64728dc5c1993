"""What racing costs, and what it picks: `tools.search.racing` on tables of scores.

    python -m benchmarks.racing synthetic --seeds 100
    python -m benchmarks.racing recorded tests/unit/fixtures/scores-tiny-word_sorting.txt

A table says which candidate is right on which row. The synthetic ones have the paper's size, 300
candidates by 700 rows: the chance of a right answer is logistic in ability minus difficulty, with
noise of each pair's own, so rows are correlated as real ones are. Eight kinds: from candidates
that differ by luck alone to far apart; each also with most of them bad and few good.
`recorded` shuffles the rows of a table of a real model anew for each seed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from tools.search.racing import SHARE, race, rank_all

CANDIDATES, ROWS = 300, 700
Results = dict[tuple[str, int], list[tuple[float, float]]]

SPREADS = (0.0, 0.3, 0.8, 1.5)  # standard deviation of ability, in logits


def synthetic(seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a table of each kind."""
    for number, spread in enumerate(SPREADS * 2):
        rng = np.random.default_rng([seed, number])
        ability = rng.uniform(-1.5, 1.5) + spread * rng.standard_normal(CANDIDATES)
        few_good = number >= len(SPREADS)
        if few_good:
            bad = rng.random(CANDIDATES) < 0.6
            ability[bad] -= rng.exponential(2.0, bad.sum())
        difficulty = rng.uniform(0.5, 2.5) * rng.standard_normal(ROWS)
        noise = 0.5 * rng.standard_normal((CANDIDATES, ROWS))
        chance = 1 / (1 + np.exp(difficulty[None, :] - ability[:, None] - noise))
        right = (rng.random((CANDIDATES, ROWS)) < chance).astype(np.int8)
        yield f"spread {spread}{', few good' if few_good else ''}", right


def compare(table: np.ndarray, keep: int, share: float) -> tuple[float, float]:
    """Return the share of evaluations that a race takes, and the points that its pick loses.

    The pick's accuracy is the mean over the `keep` best, on all rows.
    """

    def evaluate(candidates: object, rows: object) -> np.ndarray:
        return table[np.ix_(list(candidates), list(rows))]  # type: ignore[call-overload]

    accuracy = table.mean(axis=1)
    every = rank_all(evaluate, *table.shape)
    raced = race(evaluate, *table.shape, keep, share)
    lost = accuracy[list(every.order[:keep])].mean() - accuracy[list(raced.order[:keep])].mean()
    return raced.evaluations / every.evaluations, 100 * float(lost)


def report(results: Results, title: str) -> None:
    """Print for each kind of table what the races took and lost."""
    table = Table("tables", "k", "trials", "evaluations", "within 1 point", "mean loss", "worst",
                  title=title)  # fmt: skip
    for (kind, keep), found in results.items():
        costs, losses = (np.array(values) for values in zip(*found, strict=True))
        table.add_row(
            kind,
            str(keep),
            str(len(found)),
            f"{costs.mean():.1%}",
            f"{(losses <= 1 + 1e-9).mean():.1%}",
            f"{losses.mean():.2f}",
            f"{losses.max():.2f}",
        )
    Console(width=110).print(table)


def read_table(path: Path) -> np.ndarray:
    """Read a recorded table: a line for each candidate, a 0 or 1 for each row."""
    lines = path.read_text(encoding="utf-8").split()
    return np.array([list(map(int, line)) for line in lines], dtype=np.int8)


app = typer.Typer()
Seeds = Annotated[int, typer.Option(help="Trials.")]
Share = Annotated[float, typer.Option(help="Most of the evaluations that a race may take.")]


@app.command("synthetic")
def run_synthetic(seeds: Seeds = 100, share: Share = SHARE) -> None:
    """Race on made tables."""
    results: Results = {}
    for seed in range(seeds):
        for kind, table in synthetic(seed):
            for keep in (1, 3):
                found = compare(table, keep, share)
                results.setdefault((kind, keep), []).append(found)
                results.setdefault(("all", keep), []).append(found)
    report(results, f"{CANDIDATES} candidates x {ROWS} rows, share {share}")


@app.command("recorded")
def run_recorded(path: Path, seeds: Seeds = 100, share: Share = SHARE) -> None:
    """Race on a recorded table, its rows in many orders."""
    table = read_table(path)
    results: Results = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(table.shape[1])
        for keep in (1, 3):
            found = compare(table[:, order], keep, share)
            results.setdefault((path.stem, keep), []).append(found)
    accuracy = table.mean(axis=1)
    print(f"candidates: the best {accuracy.max():.1%}, the median {np.median(accuracy):.1%}")
    report(results, f"{table.shape[0]} candidates x {table.shape[1]} rows, share {share}")


if __name__ == "__main__":
    app()
