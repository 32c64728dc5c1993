"""Reads the comment at the head of a recipe, which tells people what they need and what to type.

    # CoGEX on Llama-2 13B: the paper's main recipe.
    #
    # Needs:    what must be there first
    # Launch:   accelerate launch -m axolotl.cli.train recipes/cogex-llama2-13b.yml
    # Hardware: two 48 GB GPUs, 128 GB of memory
    # Time:     about 20 hours on two A6000

What training depends on are keys of the recipe. From the header come only the GPUs for which
`cogex preflight` plans unless it is told others.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError

LABELS = ("Needs", "Launch", "Hardware", "Time")
AS_HERE = "as at the top of recipes/cogex-tiny.yml, or write a recipe with `cogex new`"
NUMBERS = {"one": 1, "two": 2, "four": 4, "eight": 8}

_LABEL = re.compile(rf"^# ({'|'.join(LABELS)}): +(\S.*)$")
_CARDS = re.compile(rf"({'|'.join(NUMBERS)}) (\d+) GB GPU")


@dataclass(frozen=True)
class Header:
    """What a header says; `fields` holds each label's text, its lines joined."""

    purpose: str  # the title of the report
    fields: dict[str, str]
    ranks: int  # GPUs; 1 for a recipe that runs on a CPU
    card_gb: int | None  # memory of each GPU in GB; None for a recipe that runs on a CPU


def read_header(path: Path) -> Header:
    """Read the header of a recipe. Raises UserError naming all that is missing or unclear."""
    lines = path.read_text(encoding="utf-8").split("\n")
    comment = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), None)]
    fields = _fields(comment)
    if missing := [f"`# {label}:`" for label in LABELS if label not in fields]:
        what = "line; add it" if len(missing) == 1 else "lines; add them"
        raise UserError(f"{path}: the header has no {', '.join(missing)} {what}, {AS_HERE}")
    cards = _CARDS.match(fields["Hardware"])
    if cards is None and "GPU" in fields["Hardware"]:
        raise UserError(
            f"{path}: the header's Hardware line must start like `two 48 GB GPUs`, with "
            f"{', '.join(NUMBERS)}; correct it"
        )
    return Header(
        purpose=comment[0].removeprefix("#").strip(),
        fields=fields,
        ranks=NUMBERS[cards[1]] if cards else 1,
        card_gb=int(cards[2]) if cards else None,
    )


def _fields(comment: list[str]) -> dict[str, str]:
    """Return the text of each label; an indented line below one continues it."""
    fields: dict[str, str] = {}
    last = None
    for line in comment:
        if match := _LABEL.match(line):
            last = match[1]
            fields[last] = match[2]
        elif last and line.startswith("#           "):
            fields[last] += " " + line.removeprefix("#").strip()
        else:
            last = None
    return fields
