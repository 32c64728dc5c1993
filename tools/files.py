"""Writes files whole or not at all, and hashes them."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tools.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class NotWritten(UserError):
    """A result was computed, and its file cannot be written: `result` is shown all the same."""

    result: Any = None


def cannot_write(path: Path | str, error: OSError) -> NotWritten:
    """What to say where a file or folder cannot be written, and what to do."""
    todo = f"make {Path(path).parent} a folder that you may write into (`ls -ld` shows whose it is)"
    if error.errno in FULL:
        todo = f"make room on the disk (`df -h {Path(path).parent}`)"
    return NotWritten(f"{path}: cannot be written: {error.strerror}; {todo}, and run this again")


@contextmanager
def shown_if_not_written(result: Any) -> Iterator[None]:
    """Give an error of writing, inside the block, the result that was to be written."""
    try:
        yield
    except NotWritten as error:
        error.result = result
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into one message."""
    try:
        yield
    except OSError as error:
        of = Path(str(error.filename or path))  # none where the disk is full
        if not of.is_relative_to(path.parent) and of not in path.parents:
            raise  # of another file, which the block reads
        raise cannot_write(path, error) from None


def refuse_unwritable(folder: Path) -> None:
    """Raise NotWritten where no file can be made in a folder, before hours are spent."""
    with writing(folder / "a file"):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Open a temporary UTF-8 file beside `path`; rename it to `path` only if the block succeeds.

    Raises NotWritten where it cannot be written.
    """
    with writing(path), _whole_file(path) as file:
        yield file


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole; NaN and Inf are refused with ValueError."""
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, whole."""
    with whole_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
