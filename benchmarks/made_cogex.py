"""Makes data with the shape and size of the published dataset, which is not part of this project.

    python -m benchmarks.made_cogex data/data.json

52,000 rows, about 160 MB, as the card of `mkhalifa/CoGEX` states; the distribution of lengths
inside that total is ours (log-normal), for it is not published. Each row is one of the hand-written
rows of data/sample with more steps: a comment, a call of an undefined helper, and one more key in
the output. The same seed gives the same bytes.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.files import whole_file

SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "data.json"
ROWS = 52_000
MEDIAN_BYTES, SPREAD, MOST_BYTES = 2_790, 0.45, 5_800  # mean about 3,077 bytes; under 2,048 tokens

VERBS = "collect compare count describe find group label list match order rank weigh".split()
NOUNS = (
    "actions answers causes dates details examples facts items lines names numbers objects "
    "parts people phrases places reasons results rules sentences signs terms topics words"
).split()


def cogex_rows(count: int = ROWS, seed: int = 42) -> Iterator[dict[str, str]]:
    """Yield rows with the published fields; every instruction is unique."""
    rng = random.Random(seed)
    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
    for index in range(count):
        row = rng.choice(sample)
        size = min(rng.lognormvariate(0, SPREAD) * MEDIAN_BYTES, MOST_BYTES)
        code, output = _grow(rng, row, size)
        yield {
            "instruction": f"{row['instruction']} (Case {index}.)",
            "input": row.get("input") or "",
            "code_prompt": code,
            "code_output": output,
        }


def alpaca_rows(count: int = ROWS, seed: int = 42) -> Iterator[dict[str, str]]:
    """Yield rows of instruction, input and a plain text for output, as Stanford Alpaca has them."""
    for row in cogex_rows(count, seed):
        words = row["code_output"].translate(str.maketrans("{}'_[]", "      ")).split()
        yield {
            "instruction": row["instruction"],
            "input": str(row["input"]),
            "output": " ".join(words),
        }


def write_array(path: Path, rows: Iterator[dict[str, str]]) -> None:
    """Write rows as one JSON array, a row at a time."""
    with whole_file(path) as file:
        for number, row in enumerate(rows):
            file.write(("[\n" if number == 0 else ",\n") + json.dumps(row))
        file.write("\n]\n")


def _grow(rng: random.Random, row: dict[str, str], size: float) -> tuple[str, str]:
    """Return code and output with as many more steps as bring the row near `size` bytes."""
    code = row["code_prompt"]
    output = row.get("code_output") or row.get("code output") or row.get("output") or "{}"
    head, _, call = code.rpartition("\n\n>>> ")
    body, _, returned = head.rpartition("\n    return ")
    missing = int(size) - len(json.dumps(row))
    if not body or not returned.startswith("{") or not output.rstrip().endswith("}") or missing < 0:
        return code, output
    name, keys, values, number = call.partition("(")[0], "", "", body.count("# Step ")
    while missing > 0:
        number += 1
        verb, noun, other = rng.choice(VERBS), rng.choice(NOUNS), rng.choice(NOUNS)
        key = f"{noun}_{number}"
        step = f"\n    # Step {number}: {verb.capitalize()} the {noun} that bear on the {other}"
        step += f"\n    {key} = {verb}_{noun}({name!r}, {other!r})"
        value = [rng.choice(NOUNS) for _ in range(rng.randint(1, 4))]
        body, keys = body + step, keys + f"\n        {key!r}: {key},"
        values += f"\n    {key!r}: {value!r},"
        missing -= len(step) + 2 * len(key) + len(str(value)) + 40
    return (
        f"{body}\n    return {{{keys}{returned[1:]}\n\n>>> {call}",
        f"{{{values}{output.strip()[1:]}",
    )


if __name__ == "__main__":
    write_array(Path(sys.argv[1]), cogex_rows())
