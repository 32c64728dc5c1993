"""What a race over candidates takes and loses, on recorded tables and on made ones.

    python -m benchmarks.racing [PROGRAMS.json …] [--orders 800] [--json FILE]

A table says which candidate is right on which dev row. Recorded are those of the tests, and those
of the programs.json of any `cogex search --strategy exhaustive` that is named. Made are tables of
the paper's size, 300 candidates by 700 rows, whose rows differ in difficulty and whose candidates
differ by luck alone up to far apart. In each of many orders of the rows the race picks a program,
and so do two others for the same number of evaluations: successive halving, and all candidates on
the first rows. Regret is what a pick lacks to the best program on all dev rows, in points. Training
rows that were scored before are given to the race; of a fixture these are 20 of its rows.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table as Shown

from benchmarks.child import ROOT
from tools.files import write_json
from tools.search.racing import most_evaluations, race

FIXTURES = ROOT / "tests" / "unit" / "fixtures"
PAID = 20  # rows of a fixture that stand for training rows
SPREADS = (0.0, 0.3, 0.8, 1.5)  # of the candidates' ability, in logits
Pick = Callable[[np.ndarray, float], int]


def main(
    programs: Annotated[list[Path] | None, typer.Argument(help="Of exhaustive searches.")] = None,
    orders: Annotated[int, typer.Option(help="Orders of the rows of a recorded table.")] = 800,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Race on each table, and show cost and regret."""
    console = Console()
    shown = Shown("table", "evaluations", "most", "within a point", "regret", "worst",
                  "halving: regret, worst", "first rows: regret, worst")  # fmt: skip
    figures = {}
    for name, dev, train in _tables(programs or []):
        found = compare(dev, train, orders if "made" not in name else max(1, orders // 40))
        figures[name] = found
        others = [f"{found[key]['mean']:.2f}, {found[key]['worst']:.2f}" for key in OTHERS]
        shown.add_row(
            f"{name}, {dev.shape[0]} x {dev.shape[1]}",
            f"{found['evaluations']:.1%}",
            f"{found['most']:.1%}",
            f"{found['race']['within_a_point']:.1%}",
            f"{found['race']['mean']:.2f}",
            f"{found['race']['worst']:.2f}",
            *others,
        )
    console.print(shown)
    if json_path:
        write_json(json_path, {"figures": figures})


def _tables(programs: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, dev table and training table: 0 or 1, (candidates, rows)."""
    for path in sorted(FIXTURES.glob("scores-*.txt")):
        lines = path.read_text().split()
        scores = np.array([list(map(int, line)) for line in lines], np.int8)
        yield path.stem.removeprefix("scores-"), scores[:, PAID:], scores[:, :PAID]
    for path in programs:
        found = json.loads(path.read_text())
        dev, train = (
            np.array([list(map(int, item[split]["by_row"])) for item in found["candidates"]])
            for split in ("dev", "train")
        )
        yield found["task"]["name"], dev.astype(np.int8), train.astype(np.int8)
    for spread in SPREADS:
        for few_good in (False, True):
            made = paper_sized(spread, few_good, 1)
            kind = ", few good" if few_good else ""
            yield f"made, spread {spread:g}{kind}", made[:, PAID:], made[:, :PAID]


def paper_sized(spread: float, few_good: bool, seed: int) -> np.ndarray:
    """300 candidates by 720 rows, correlated by the rows' difficulty; `spread` is in logits."""
    rng = np.random.default_rng([seed, int(10 * spread), few_good])
    ability = rng.uniform(-1.5, 1.5) + spread * rng.standard_normal(300)
    ability[rng.random(300) < 0.6 * few_good] -= 2
    difficulty = rng.uniform(0.5, 2.5) * rng.standard_normal(720)
    logits = ability[:, None] - difficulty + 0.5 * rng.standard_normal((300, 720))
    return (rng.random((300, 720)) < 1 / (1 + np.exp(-logits))).astype(np.int8)


def compare(dev: np.ndarray, train: np.ndarray, orders: int) -> dict[str, Any]:
    """Race in so many orders of the rows, and let the others spend as much."""
    accuracy = 100 * dev.mean(axis=1)
    costs: list[int] = []
    lost: dict[str, list[float]] = {name: [] for name in ("race", *OTHERS)}
    for order in range(orders):
        rng = np.random.default_rng(order)
        rows = dev[:, rng.permutation(dev.shape[1])]
        paid = train[:, rng.permutation(train.shape[1])[:PAID]]
        raced = race(lambda chosen, on, r=rows: r[np.ix_(chosen, on)], *dev.shape, 1, paid)
        costs.append(raced.evaluations)
        lost["race"].append(accuracy.max() - accuracy[raced.order[0]])
        for name, pick in OTHERS.items():
            lost[name].append(accuracy.max() - accuracy[pick(rows, raced.evaluations)])
    return {
        "evaluations": float(np.mean(costs)) / dev.size,
        "most": max(costs) / dev.size,
        "allowed": most_evaluations(*dev.shape) / dev.size,
        "orders": orders,
        **{name: _regret(np.array(points)) for name, points in lost.items()},
    }


def _regret(points: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(points.mean()),
        "worst": float(points.max()),
        "within_a_point": float((points <= 1 + 1e-9).mean()),
    }


def halving(rows: np.ndarray, budget: float) -> int:
    """Successive halving (Karnin, Koren and Somekh, 2013): each round has the same budget."""
    alive, seen = np.arange(len(rows)), 0
    rounds = max(1, math.ceil(math.log2(len(rows))))
    for _ in range(rounds):
        seen = min(rows.shape[1], seen + max(1, int(budget / rounds / len(alive))))
        order = np.argsort(-rows[alive, :seen].sum(axis=1), kind="stable")
        alive = alive[order[: math.ceil(len(alive) / 2)]]
    return int(alive[0])


def first_rows(rows: np.ndarray, budget: float) -> int:
    """All candidates on as many rows as the budget allows."""
    return int(rows[:, : max(1, int(budget / len(rows)))].sum(axis=1).argmax())


OTHERS: dict[str, Pick] = {"halving": halving, "first_rows": first_rows}


if __name__ == "__main__":
    typer.run(main)
