"""A corpus for base models from the Python files of a folder: train.jsonl, val.jsonl and the rest.

Each document is a file, or with `lines` a function of at most so many: {"id", "text"}, the id being
the path within the folder, and the function's line. Comments and layout stay as they are.
Files are read one at a time in the order of their paths; of those before it nothing is kept but
16 bytes each, so a folder may hold millions. Every file named *.py is used or stands in
rejected.jsonl with its reason:

- `not a plain file` (a link, a pipe), `cannot be read`, `too long` (over `max_chars`);
- `licence file` (by its name), `not text` (bytes that are not of the encoding it declares);
- `does not parse`, `nested too deep`;
- `no code`: comments, a docstring and imports alone;
- `duplicate`: another file had the same lines, white space and comment lines aside;
- `benchmark problem`: a function in it is one of the mini suite, or of the files of `exclude` (see
  tools/code/function_shapes.py for what is recognised);
- `no short function with a docstring`, with `lines` alone; `duplicate` and `benchmark problem` are
  then said of functions, and a file without another has the reason of its first.

Which split a file goes to is drawn from the seed and its lines, so all of it goes to the one, and
another file in the folder changes nothing. Near-duplicates, as two releases of one package, are not
recognised and may stand in both.
"""

import ast
import hashlib
import io
import json
import os
import shutil
import stat
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from tools.code.function_shapes import Problems, body, functions
from tools.code.tasks import MINI, own_tasks, read_published
from tools.errors import UserError
from tools.files import sha256, whole_file, write_json
from tools.prepare.fields import RejectedError
from tools.prepare.folder import counts_table
from tools.prepare.pipeline import commonest_first

OUTPUTS = ("train.jsonl", "val.jsonl", "rejected.jsonl")
# how published problems name their parts: rows of this project, HumanEval, MBPP
PARTS = (("prompt", "solution"), ("prompt", "canonical_solution"), ("code",))
LICENCE_NAMES = ("licence", "license", "copying", "copyright", "notice")
BYTES_PER_CHARACTER = 4  # at most, in UTF-8


@dataclass
class Summary:
    """What became of the files: `kept` + `rejected` are those read; `reasons` counts the latter.

    `documents` and `characters` are those of each split.
    """

    read: int = 0
    kept: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=Counter)
    documents: dict[str, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    characters: dict[str, int] = field(default_factory=lambda: {"train": 0, "val": 0})


@dataclass
class _Seen:
    """What is to be recognised: the problems of benchmarks, and documents that were kept."""

    problems: Problems
    digests: set[bytes] = field(default_factory=set)

    def check(self, text: str, tree: ast.AST) -> None:
        """Take in a document and its syntax tree. Raises RejectedError if it is known."""
        lines = (line.strip() for line in text.split("\n"))
        plain = "\n".join(line for line in lines if line and not line.startswith("#"))
        digest = hashlib.blake2b(plain.encode(), digest_size=16).digest()
        if digest in self.digests:
            raise RejectedError("duplicate")
        if any(self.problems.holds(each) for each in functions(tree)):
            raise RejectedError("benchmark problem")
        self.digests.add(digest)


def prepare_python_corpus(
    source: Path,
    out: Path,
    *,
    val_share: float = 0.02,
    seed: int = 42,
    max_chars: int = 100_000,
    lines: int | None = None,
    exclude: Sequence[Path] = (),
) -> Summary:
    """Write the corpus of the folder `source` into the folder `out`.

    `val_share` of the files, on average, go to validation; `max_chars` bounds a file. With `lines`
    a document is a top-level function of at most so many lines that has a docstring. `exclude` are
    files of benchmarks, whose problems are kept out. Raises UserError, with nothing written, if a
    setting or the folder cannot be used, or if no document is left for a split.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is no folder; give the one that holds the Python files")
    if not 0 < val_share < 1:
        raise UserError(f"--val-share {val_share}: give a share between 0 and 1, as 0.02")
    seen, summary = _Seen(read_problems(exclude)), Summary()
    # Axolotl's cache is keyed by the recipe: it would train on the documents that are replaced here
    shutil.rmtree(out / "prepared", ignore_errors=True)
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(out / name)) for name in OUTPUTS}
        for index, path in enumerate(python_files(source, out)):
            summary.read += 1
            name = os.fsencode(path.relative_to(source)).decode("utf-8", "backslashreplace")
            try:
                text, tree = read_source(path, max_chars)
                documents = list(_documents(name, text, tree, seen, lines))
            except RejectedError as error:
                summary.rejected += 1
                summary.reasons[str(error)] += 1
                line = {"index": index, "reason": str(error), "row": {"id": name}}
                files["rejected.jsonl"].write(_json(line))
            else:
                split = "val" if _draw(text, seed) < val_share else "train"
                summary.kept += 1
                summary.documents[split] += len(documents)
                summary.characters[split] += sum(len(each["text"]) for each in documents)
                files[f"{split}.jsonl"].writelines(map(_json, documents))
        if empty := [split for split, count in summary.documents.items() if not count]:
            raise UserError(
                f"{source}: of {summary.read:,} Python files none is left for {empty[0]}; give a "
                f"folder with more, or another --val-share (now {val_share})"
            )
    settings = {
        "format": "python-corpus",
        "source": str(source),
        "seed": seed,
        "val_share": val_share,
        "max_chars": max_chars,
        "lines": lines,
        "exclude": {str(path): sha256(path) for path in exclude},
    }
    hashes = {name: sha256(out / name) for name in OUTPUTS}
    write_json(out / "manifest.json", settings | vars(summary) | {"sha256": hashes})
    return summary


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def read_problems(paths: Iterable[Path]) -> Problems:
    """Read the functions of the mini suite and of benchmarks' files.

    These are HumanEval's, MBPP's, or rows of prompt and solution. Raises UserError naming file and
    problem of what is none of them.
    """
    problems = Problems()
    for task in own_tasks(MINI):
        problems.add(task.prompt + task.solution)
    for path in paths:
        for number, row in enumerate(read_published(path).rows, 1):
            try:
                found = problems.add(_program(row))
            except (ValueError, TypeError, SyntaxError, RecursionError):
                found = 0
            if not found:
                raise UserError(
                    f"{path}, problem {number}: holds no function; give the original file of "
                    "HumanEval or MBPP, or rows of prompt and solution"
                )
    return problems


def _program(problem: dict[str, str]) -> str:
    for parts in PARTS:
        if all(part in problem for part in parts):
            return "".join(problem[part] for part in parts)
    raise ValueError("no part of a problem that is known")


def python_files(folder: Path, leave_out: Path) -> Iterator[Path]:
    """Yield every path named *.py in a folder and below it, ordered within each folder.

    Links to folders are not followed, and `leave_out` is not entered.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(parent, name) != leave_out)
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".py"))


def read_source(path: Path, max_chars: int) -> tuple[str, ast.Module]:
    """Return a file's text, its line ends `\\n`, and its syntax tree. Raises RejectedError."""
    if path.stem.lower().startswith(LICENCE_NAMES):
        raise RejectedError("licence file")
    text = _decode(_read(path, max_chars * BYTES_PER_CHARACTER))
    if len(text) > max_chars:
        raise RejectedError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are no longer valid
            tree = ast.parse(text)
    except (RecursionError, MemoryError):
        raise RejectedError("nested too deep") from None
    except (SyntaxError, ValueError):
        raise RejectedError("does not parse") from None
    if all(isinstance(each, ast.Import | ast.ImportFrom) or _is_text(each) for each in tree.body):
        raise RejectedError("no code")
    return text, tree


def _read(path: Path, most: int) -> bytes:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise RejectedError("not a plain file")
        if status.st_size > most:
            raise RejectedError("too long")
        return path.read_bytes()
    except OSError:
        raise RejectedError("cannot be read") from None


def _decode(data: bytes) -> str:
    """Return the text by the encoding that the file declares (PEP 263), UTF-8 unless told."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        text.encode("utf-8")  # some encodings make lone surrogates
    except (SyntaxError, LookupError, UnicodeError):
        raise RejectedError("not text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _draw(text: str, seed: int) -> float:
    """Return a number from 0 to 1 that hangs on the seed and the text's lines alone."""
    data = f"{seed}\n{' '.join(text.split())}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2**64


def _documents(
    name: str, text: str, tree: ast.Module, seen: _Seen, most_lines: int | None
) -> Iterator[dict[str, str]]:
    """Yield the documents of a file. Raises RejectedError if there are none."""
    try:
        if most_lines is None:
            seen.check(text, tree)
            yield {"id": name, "text": text}
        else:
            yield from _function_documents(name, text, short_functions(tree, most_lines), seen)
    except RecursionError:
        raise RejectedError("nested too deep") from None


def _function_documents(
    name: str, text: str, found: Iterable[ast.FunctionDef], seen: _Seen
) -> Iterator[dict[str, str]]:
    lines, used = text.split("\n"), False
    first = RejectedError("no short function with a docstring")
    for number, function in enumerate(found):
        part = "\n".join(lines[function.lineno - 1 : function.end_lineno]) + "\n"
        try:
            seen.check(part, function)
        except RejectedError as error:
            first = first if number else error
        else:
            used = True
            yield {"id": f"{name}:{function.lineno}", "text": part}
    if not used:
        raise first


def short_functions(tree: ast.Module, most_lines: int) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a module that look as a prompt with its solution does.

    Not decorated, with a docstring and something behind it, at most so many lines.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            is_short = (node.end_lineno or 0) - node.lineno < most_lines
            if is_short and ast.get_docstring(node) and body(node):
                yield node


def print_summary(summary: Summary, console: Console) -> None:
    """Print what became of the files."""
    counts = {"read": summary.read, "kept": summary.kept, "rejected": summary.rejected}
    reasons = commonest_first(Counter(summary.reasons))
    console.print(counts_table("files", counts, reasons))
    for split, count in summary.documents.items():
        console.print(f"{split}: {count:,} documents, {summary.characters[split]:,} characters")
