"""Answers the lines of a file some at a time: in flat memory, in their order, and once each.

    {"instruction": "Sort the words.", "input": "sun moon"}
    {"instruction": "Sort the words.", "input": "sun moon", "program": "…", "output": "…"}

A call that was killed goes on behind the last whole line of its output.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from tools.errors import UserError, remedy
from tools.files import writing

ROWS = 256  # in memory, and answered together
Row = dict[str, str]


def answer_file(
    inputs: Path,
    out: Path,
    fields: Sequence[str],
    answer: Callable[[list[Row]], list[dict[str, Any]]],
) -> int:
    """Append to `out` each line of `inputs` with its answer; return how many were answered now.

    A line is a JSON object with texts under `fields`; a missing one is empty, except the first.
    Raises UserError, with nothing answered, naming the line that is none, or if `out` holds the
    answers to other inputs.
    """
    total = sum(1 for _ in _rows(inputs, fields))
    with writing(out):
        done = _done(out, inputs, fields)
        rows = itertools.islice(_rows(inputs, fields), done, None)
        parts = iter(lambda: list(itertools.islice(rows, ROWS)), [])
        of = -(-(total - done) // ROWS)
        with out.open("a", encoding="utf-8") as file:
            for part in track(parts, f"Answering, {ROWS} at a time", of, transient=True):
                for row, answered in zip(part, answer(part), strict=True):
                    file.write(json.dumps(row | answered, ensure_ascii=False) + "\n")
                file.flush()
    return total - done


def _rows(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    """Yield the row of each line. Raises UserError naming a line that is none."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, fields, f"{path}, line {number}")
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; {remedy(path, 'name another file')}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _row(line: str, fields: Sequence[str], where: str) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    texts = {name: value.get(name) or "" for name in fields} if isinstance(value, dict) else {}
    usable = all(isinstance(each, str) for each in texts.values())
    if not texts or not usable or not texts[fields[0]]:
        wanted = json.dumps(dict.fromkeys(fields, "…"), ensure_ascii=False)
        raise UserError(f"{where}: is not a line as {wanted}; correct it")
    return texts


def _done(out: Path, inputs: Path, fields: Sequence[str]) -> int:
    """Count the answers that are there, and cut off a last line that is not whole."""
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        return 0
    done = whole = 0
    rows = _rows(inputs, fields)
    with out.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            row = next(rows, None)
            if row is None or _row(line.decode("utf-8", "replace"), fields, str(out)) != row:
                raise UserError(
                    f"{out}, line {done + 1}: answers another input than {inputs} has there; give "
                    "another --out"
                )
            done, whole = done + 1, whole + len(line)
        file.truncate(whole)
    return done
