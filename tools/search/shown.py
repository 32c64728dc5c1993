"""What `cogex search` prints: the program, what it cost, and each way to answer."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from tools.search.leaves import VARIANTS
from tools.search.run import LABELS
from tools.search.sweep import CRITERIA

MOST_LEAVES = 15  # of a table


def print_search(result: dict[str, Any], console: Console) -> None:
    """Show the best program, the cost of the search, and the accuracies on the test rows."""
    task, counts, evaluations = result["task"], result["counts"], result["evaluations"]
    console.print(Syntax(result["programs"][0]["program"], "python", word_wrap=True))
    console.print(
        f"{counts['generated']} programs generated: {counts['unparseable']} without a usable "
        f"function; {counts['candidates']} different candidates, {counts['duplicates']} of the "
        f"rest the same as another; {counts['rows_below_alpha']} rows stayed below alpha"
    )
    console.print(
        f"{result['calls']:,} generations in all; {evaluations['dev']:,} of "
        f"{evaluations['dev_exhaustive']:,} pairs of candidate and dev row scored"
    )
    console.print(_accuracies(result["test"], task["name"]))
    for line in _notes(result):
        console.print(line, markup=False)
    if task.get("lengths"):
        console.print(_lengths(result))
    if "sweep" in result:
        _print_sweep(result["sweep"], console)
    if "leaves" in result:
        _print_leaves(result["leaves"], console)
    console.print(f"{result['folder']}/programs.json: use it by `cogex apply`", markup=False)


def label(key: str) -> str:
    """Return a way to answer in words, by its key under `test`."""
    name, _, k = key.partition("_k")
    return f"{LABELS[name]}, k = {k}" if k else LABELS[name]


def by_length(result: dict[str, Any]) -> dict[str, dict[int, tuple[int, int]]]:
    """Return (right, rows) of each way to answer by the length of the test rows."""
    counted: dict[str, dict[int, tuple[int, int]]] = {}
    for key, item in result["test"].items():
        counts = counted.setdefault(key, {})
        for length, bit in sorted(zip(result["task"]["lengths"], item["by_row"], strict=True)):
            right, rows = counts.get(length, (0, 0))
            counts[length] = (right + (bit == "1"), rows + 1)
    return counted


def _accuracies(test: dict[str, Any], title: str) -> Table:
    table = Table("on the test rows", "right", "95% interval", "against CoTACS", "p",
                  title=title, box=box.SIMPLE_HEAD)  # fmt: skip
    for key, item in test.items():
        against = item.get("against")
        table.add_row(
            label(key) + (f" ({item['shots']})" if "shots" in item else ""),
            f"{item['right']}/{item['rows']}",
            _interval(item["interval_95"]),
            _difference(against) if against else "",
            f"{against['p_value']:.2g}" if against else "",
        )
    return table


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:.0%} to {ends[1]:.0%}"


def _difference(pair: dict[str, Any]) -> str:
    """By how many points the second is above the first, with the interval."""
    low, high = (100 * end for end in pair["interval"])
    return f"{100 * pair['difference']:+.1f} ({low:+.1f} to {high:+.1f})"


def _notes(result: dict[str, Any]) -> Iterator[str]:
    """Yield what chance decided, and what was left out."""
    for key, item in result["test"].items():
        if count := item.get("ties"):
            yield (
                f"{label(key)}: {count} of {item['rows']} answers are ties between programs, "
                f"decided at random (seed {result['settings']['seed']})"
            )
    if count := result["ties"]["not_kept"]:
        yield (
            f"{count} programs that were not kept are as good on the dev rows as the last that was "
            "kept: the order in which they were written decided"
        )
    if count := result["ties"]["rounds"]:
        yield (
            f"{count} candidates left the race although equal to one that stayed in it, by the "
            "order in which they were written"
        )
    for reason in result["baselines_left_out"]:
        yield f"left out: {reason}"
    server = result.get("server", {})
    if server.get("requests_without"):
        names = ", ".join(server["requests_without"])
        yield f"the server does not take {names}: it was asked without"
    for reason, count in server.get("no_text", {}).items():
        yield f"no text for {count:,} requests: {reason}"


def _lengths(result: dict[str, Any]) -> Table:
    counted = by_length(result)
    lengths = sorted({*result["task"]["lengths"]})
    table = Table("right, by length", *map(str, lengths))
    for key, counts in counted.items():
        table.add_row(label(key), *("{}/{}".format(*counts[length]) for length in lengths))
    return table


def _print_sweep(sweep: dict[str, Any], console: Console) -> None:
    """Show a row for each point; mean and standard deviation over the draws."""
    table = Table("ranked by", "candidates", "dev rows", "accuracy", "rank", "lacks to the best")
    for point in sweep["points"]:
        accuracy, rank, regret = point["accuracy"], point["rank"], point["regret"]
        table.add_row(
            CRITERIA[point["criterion"]],
            f"{point['candidates']} ({point['different_candidates']:.0f} different)",
            str(point["dev_rows"]),
            f"{accuracy['mean']:.1%} ± {100 * accuracy['deviation']:.1f}",
            f"{rank['mean']:.1f} ± {rank['deviation']:.1f}",
            f"{100 * regret['mean']:.1f} points",
        )
    console.print(table)
    for sentence in sweep["conclusions"]:
        console.print(sentence, markup=False)


def _print_leaves(leaves: dict[str, Any], console: Console) -> None:
    """Show the scores by number of leaves and by leaf, and what each variant changes."""
    table = Table("undefined functions", "programs", "right", "share", "95% interval")
    many = sorted(leaves["by_leaf"].items(), key=lambda item: (-item[1]["rows"], item[0]))
    for name, item in [*leaves["by_number"].items(), *many[:MOST_LEAVES]]:
        share = f"{item['right'] / item['rows']:.1%}" if item["rows"] else "not scored"
        interval = _interval(item["interval_95"]) if item["rows"] else ""
        counted = str(item["programs"]), f"{item['right']}/{item['rows']}", share, interval
        table.add_row(name, *counted)
    console.print(table)
    if len(many) > MOST_LEAVES:
        console.print(f"{len(many) - MOST_LEAVES} leaves more stand in leaves.json")
    table = Table("program", "variant", "right", "against as found", "p")
    for number, program in enumerate(leaves["programs"], 1):
        table.add_row(str(number), "as found", f"{program['right']}/{program['rows']}", "", "")
        for name, item in program["variants"].items():
            changed = f"{item['right']}/{item['rows']}", _difference(item), f"{item['p_value']:.2g}"
            table.add_row("", VARIANTS[name], *changed)
    console.print(table)
