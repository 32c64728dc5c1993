"""What racing costs, and what it picks: `tools.search.racing` on tables of scores.

    python -m benchmarks.racing synthetic --seeds 100
    python -m benchmarks.racing record recipes/cogex-tiny.yml tasks/tiny-sum.yml outputs/table.txt
    python -m benchmarks.racing recorded outputs/table.txt --seeds 100

A table says which candidate is right on which row. The synthetic ones have the paper's size, 300
candidates by 700 rows: the chance of a right answer is logistic in ability minus difficulty, with
noise of each pair's own, so rows are correlated as real ones are. Eight kinds: from candidates
that differ by luck alone to far apart; each also with most of them bad and few good.
`record` scores every candidate on every row (the exhaustive run) and keeps the table; sampled at
temperature 1.3, for at 0.7 the tiny model writes only the few programs that it was trained on.
`recorded` shuffles the rows anew for each seed.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.search.racing import SHARE, race, rank_all

CANDIDATES, ROWS = 300, 700
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


def report(results: dict[tuple[str, int], list[tuple[float, float]]], title: str) -> None:
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


def run_synthetic(seeds: int, share: float) -> None:
    """Race on made tables."""
    results: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in range(seeds):
        for kind, table in synthetic(seed):
            for keep in (1, 3):
                found = compare(table, keep, share)
                results.setdefault((kind, keep), []).append(found)
                results.setdefault(("all", keep), []).append(found)
    report(results, f"{CANDIDATES} candidates x {ROWS} rows, share {share}")


def read_table(path: Path) -> np.ndarray:
    """Read a recorded table: a line for each candidate, a 0 or 1 for each row."""
    lines = path.read_text(encoding="utf-8").split()
    return np.array([list(map(int, line)) for line in lines], dtype=np.int8)


def run_recorded(path: Path, seeds: int, share: float) -> None:
    """Race on a table that `record` made, its rows in many orders."""
    table = read_table(path)
    results: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(table.shape[1])
        for keep in (1, 3):
            found = compare(table[:, order], keep, share)
            results.setdefault((path.stem, keep), []).append(found)
    accuracies = np.sort(table.mean(axis=1))[::-1]
    shown = ", ".join(f"{value:.1%}" for value in accuracies[:5])
    report(results, f"{table.shape[0]} candidates x {table.shape[1]} rows, share {share}")
    print(f"accuracies of the best: {shown}; median {np.median(accuracies):.1%}")


def record(recipe: Path, card: Path, out: Path, temperature: float, most: int) -> None:
    """Score every candidate on every row of train, dev and test with the real model."""
    from tools.search.backend import load_in_process
    from tools.search.candidates import PROGRAM
    from tools.search.data import load_task
    from tools.search.scoring import Scorer, Settings
    from tools.search.store import Store

    task = load_task(card)
    rows = [*task.train, *task.dev, *task.test]
    settings = Settings(reasoner_temperature=temperature)
    scorer = Scorer(task, PROGRAM, load_in_process(recipe), Store(out.with_suffix("")), settings)
    written = map(PROGRAM.cut, scorer.propose(rows, 0))
    candidates = list(dict.fromkeys(text for text in written if text))[:most]
    evaluate = scorer.evaluate_on(candidates, rows, "scoring every candidate on every row")
    np.savetxt(out, evaluate(range(len(candidates)), range(len(rows))), fmt="%d", delimiter="")
    print(f"{out}: {len(candidates)} candidates x {len(rows)} rows")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("synthetic")
    real = verbs.add_parser("recorded")
    real.add_argument("table", type=Path)
    for verb in (made, real):
        verb.add_argument("--seeds", type=int, default=100)
        verb.add_argument("--share", type=float, default=SHARE)
    new = verbs.add_parser("record")
    new.add_argument("recipe", type=Path)
    new.add_argument("task", type=Path)
    new.add_argument("out", type=Path)
    new.add_argument("--temperature", type=float, default=1.3)
    new.add_argument("--most", type=int, default=60, help="candidates")
    arguments = parser.parse_args()
    if arguments.verb == "synthetic":
        run_synthetic(arguments.seeds, arguments.share)
    elif arguments.verb == "recorded":
        run_recorded(arguments.table, arguments.seeds, arguments.share)
    else:
        record(
            arguments.recipe, arguments.task, arguments.out, arguments.temperature, arguments.most
        )


if __name__ == "__main__":
    main()
