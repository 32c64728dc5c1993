"""A folder of prepared rows: what may be its place, and how it is written."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prompt_strategies.date_texts import to_file
from tools.errors import UserError
from tools.files import sha256, write_json, write_jsonl, writing
from tools.results import Manifest

MANIFEST = "manifest.json"


def check_out(out: Path, source: Path, outputs: Iterable[str]) -> None:
    """Raise UserError if `out` is a file, or if one of its `outputs` would replace the source."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out names the folder to write into")
    if source.resolve() in [(out / name).resolve() for name in outputs]:
        raise UserError(f"{source} would be overwritten: give another --out than its folder")


def write_folder(
    out: Path,
    files: Mapping[str, Iterable[Any]],
    manifest: Mapping[str, Any],
    *,
    hashed: Sequence[str],
) -> dict[str, Any]:
    """Write files of JSON lines, then manifest.json with the SHA-256 of those in `hashed`.

    Those hold the prepared rows, which the engine reads as texts. A folder with a manifest is
    whole. Returns the manifest. Raises UserError if the folder cannot be written.
    """
    with writing(out / MANIFEST):
        (out / MANIFEST).unlink(missing_ok=True)
        # Axolotl keys its cache by the recipe: it would train on the rows that are replaced here
        shutil.rmtree(out / "prepared", ignore_errors=True)
        for name, lines in files.items():
            write_jsonl(out / name, map(_stored, lines) if name in hashed else lines)
        written = {**manifest, "sha256": {name: sha256(out / name) for name in hashed}}
        Manifest.model_validate(written)  # its readers' keys are there
        write_json(out / MANIFEST, written)
    return written


def _stored(row: Mapping[str, str]) -> dict[str, str]:
    return {key: to_file(text) for key, text in row.items()}


def rejected_line(index: int, reason: str, row: Any) -> dict[str, Any]:
    """Return a row's line of rejected.jsonl; the row as text if JSON cannot hold it."""
    line = {"index": index, "reason": reason, "row": row}
    try:
        json.dumps(line, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        line["row"] = ascii(row)
    except RecursionError:
        line["row"] = "nested too deep to be shown"
    return line


def rejected_lines(reasons: Mapping[int, str], rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the lines of rejected.jsonl for the reasons against rows, by their index."""
    return [rejected_line(index, reason, rows[index]) for index, reason in sorted(reasons.items())]


def commonest_first(counts: Counter[str]) -> dict[str, int]:
    """Return the counts as a dict, the largest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def told(reasons: Mapping[str, int], most: int = 5) -> str:
    """Return the first reasons with their counts, for a message."""
    return ", ".join(f"{count:,} {reason}" for reason, count in list(reasons.items())[:most])


def print_counts(
    what: str, counts: Mapping[str, int], manifest: Mapping[str, Any], console: Console
) -> None:
    """Print counts, then those of what the manifest says was rejected, by its reasons."""
    table = Table(what, "count")
    table.columns[1].justify = "right"
    reasons = {f"  {name}": count for name, count in manifest["reasons"].items()}
    for name, count in {**counts, "rejected": manifest["rejected"], **reasons}.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
