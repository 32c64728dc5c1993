"""The table of docs/cotacs.md: CoTACS against end to end on the tiny model, over several seeds.

    python -m benchmarks.cotacs recipes/cogex-tiny.yml --seeds 5 --out outputs/cotacs

For each seed the rows are split anew and everything is sampled anew. Counts are added over the
seeds before they are divided. `table.json` in the folder holds every result; run again, it goes on.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.files import write_json
from tools.search import baselines
from tools.search.backend import InProcess, load_in_process
from tools.search.candidates import PROGRAM
from tools.search.cotacs import search
from tools.search.data import load_task
from tools.search.scoring import Scorer, Settings, share
from tools.search.store import Store

TASKS = ("tiny-coin", "tiny-sum", "tiny-word_sorting")


def measure(task: str, seed: int, backend: InProcess, out: Path) -> dict[str, int]:
    """Search and test once; return the right answers of each method, and the rows."""
    card = Path("tasks") / f"{task}.yml"
    split_anew = out / f"{task}.yml"
    text = card.read_text(encoding="utf-8")
    split_anew.write_text(text.replace("seed: 42}\n", f"seed: {seed}}}\n"), encoding="utf-8")
    loaded = replace(load_task(split_anew), name=task)
    scorer = Scorer(loaded, PROGRAM, backend, Store(out / task), Settings(seed=seed))
    found = search(scorer)
    programs = [item["program"] for item in found["programs"]]
    answers = scorer.emulate(programs, loaded.test, "testing programs")
    right = {"rows": len(loaded.test), "candidates": len(found["candidates"])}
    for k in (1, 3):
        voted = scorer.majority(answers[:k], loaded.test)
        right[f"CoTACS, k = {k}"] = sum(scorer.right(voted, loaded.test))
    right["end to end"] = baselines.end_to_end(scorer)["right"]
    return right


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/cotacs"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    backend = load_in_process(arguments.recipe)
    path = arguments.out / "table.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for seed in range(arguments.seeds):
        for task in TASKS:
            if f"{task}/{seed}" not in done:
                done[f"{task}/{seed}"] = measure(task, seed, backend, arguments.out)
                write_json(path, done)
    print_table(done)


def print_table(done: dict[str, Any]) -> None:
    """Print for each task the share of each method, with its interval, and each seed's count."""
    table = Table("task", "method", "right of all seeds", "95% interval", "by seed")
    for task in TASKS:
        runs = [run for key, run in sorted(done.items()) if key.startswith(f"{task}/")]
        total: Counter[str] = sum((Counter(run) for run in runs), Counter())
        for method in ("CoTACS, k = 1", "CoTACS, k = 3", "end to end"):
            item = share(total[method], total["rows"])
            low, high = item["interval_95"]
            by_seed = " ".join(str(run[method]) for run in runs)
            shown = f"{item['right']}/{item['rows']} = {item['share']:.1%}"
            table.add_row(task, method, shown, f"{low:.1%} to {high:.1%}", by_seed)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
