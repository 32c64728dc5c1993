"""Reads the comment at the head of a recipe: its contract with the person who launches it.

    # CoGEX on Llama-2 13B: the paper's main recipe.
    #
    # Needs:    what must be there first
    # Launch:   accelerate launch -m axolotl.cli.train recipes/cogex-llama2-13b.yml
    # Hardware: two 48 GB GPUs, 128 GB of memory
    # Time:     about 20 hours on two A6000
    # Batch:    32 examples in each optimizer step = 2 (micro) x 8 (accumulation) x 2 (GPUs);
    #           on 1, 4 or 8 GPUs set gradient_accumulation_steps to 16, 4 or 2
    # Rows:     240 for validation

`Rows` stands only where validation has another number of rows than the paper's 2,000.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError

LABELS = ("Needs", "Launch", "Hardware", "Time", "Batch", "Rows")
OPTIONAL = ("Rows",)
PAPER_VALIDATION_ROWS = 2000  # arXiv 2405.16337, section 3.1

_LABEL = re.compile(r"^# (\w+): +(\S.*)$")
_BATCH = re.compile(
    r"(?:about )?(\d+) \w+ in each optimizer step = "
    r"(\d+) \(micro[^)]*\) x (\d+) \(accumulation\) x (\d+) \((?:GPU|process)"
)
_CARD = re.compile(r"(\d+) GB GPU")
_ROWS = re.compile(r"([\d,]+) for validation")


@dataclass(frozen=True)
class Header:
    """What a recipe promises; `fields` holds each label's text, its lines joined."""

    purpose: str
    fields: dict[str, str]
    batch_size: int  # examples in each optimizer step, over all ranks
    micro: int  # examples (or packs) in a micro batch
    accumulation: int  # micro batches that a rank adds up for one optimizer step
    ranks: int  # the GPUs (or CPU processes) for which the recipe's numbers are written
    card_gb: int | None  # memory of each GPU in GB; None for a recipe that runs on a CPU
    validation_rows: int


def read_header(path: Path) -> Header:
    """Read the header of a recipe. Raises UserError naming the label that is missing or unclear."""
    lines = path.read_text(encoding="utf-8").split("\n")
    comment = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), None)]
    fields = _fields(comment)
    for label in LABELS:
        if label not in fields and label not in OPTIONAL:
            raise UserError(f"{path}: the header has no `# {label}:` line; add it")
    batch = _BATCH.search(fields["Batch"])
    if batch is None:
        raise UserError(
            f"{path}: the header's Batch line must read `32 examples in each optimizer step = "
            "4 (micro) x 4 (accumulation) x 2 (GPUs)`; correct it"
        )
    card = _CARD.search(fields["Hardware"])
    rows = _ROWS.search(fields.get("Rows", ""))
    if "Rows" in fields and rows is None:
        raise UserError(
            f"{path}: the header's Rows line must read `240 for validation`; correct it"
        )
    return Header(
        purpose=comment[0].removeprefix("#").strip(),
        fields=fields,
        batch_size=int(batch[1]),
        micro=int(batch[2]),
        accumulation=int(batch[3]),
        ranks=int(batch[4]),
        card_gb=int(card[1]) if card else None,
        validation_rows=int(rows[1].replace(",", "")) if rows else PAPER_VALIDATION_ROWS,
    )


def _fields(comment: list[str]) -> dict[str, str]:
    """Return the text of each label; a line indented below one goes on with it."""
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
