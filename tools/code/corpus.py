"""Turns a folder of Python files into a corpus for base models: train.jsonl and val.jsonl.

A document is `{"id", "text"}`: a file, or with `lines` a function of at most that many lines. The
id is the path within the folder, and for a function its first line. Comments and layout stay.
Files are read one at a time in the order of their paths, and only 16 bytes of each are kept in
memory, so a folder may hold millions. Every file named *.py becomes a document or has a line in
rejected.jsonl with its reason. A `benchmark problem` has a function of the mini suite or of the
files in `exclude` (tools/code/function_shapes.py says what is recognised). With `lines` functions
are compared, not files, and a file without a usable function has the reason of its first one.

The seed and the file's text decide its split, so other files in the folder do not matter.
Near-duplicates, such as two releases of one package, are not recognised: both splits may have one.
"""

import ast
import hashlib
import io
import json
import os
import shutil
import stat
import tokenize
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
from tools.prepare.folder import commonest_first, print_counts
from tools.python_text import quietly

OUTPUTS = ("train.jsonl", "val.jsonl", "rejected.jsonl")
# the parts of a problem's program: in this project's rows, HumanEval and MBPP
PARTS = (("prompt", "solution"), ("prompt", "canonical_solution"), ("code",))
LICENCE_NAMES = ("licence", "license", "copying", "copyright", "notice")


@dataclass
class _Seen:
    """What is not taken: problems of benchmarks, and documents that were taken before."""

    problems: Problems
    digests: set[bytes] = field(default_factory=set)

    def check(self, text: str, tree: ast.AST) -> None:
        """Remember a document. Raises RejectedError if it is known."""
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
) -> dict[str, Any]:
    """Write the corpus of the folder `source` into the folder `out`; return the manifest.

    `val_share` is the average share of files for validation, `max_chars` the longest file. With
    `lines` a document is a top-level function with a docstring and at most that many lines.
    `exclude` are files of benchmarks whose problems are kept out. Raises UserError, with nothing
    written, if a setting or the folder cannot be used, or if a split has no document.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; give the one that holds the Python files")
    if not 0 < val_share < 1:
        raise UserError(f"--val-share {val_share}: give a share between 0 and 1, as 0.02")
    seen, reasons, kept = _Seen(read_problems(exclude)), Counter[str](), 0
    documents, characters = {"train": 0, "val": 0}, {"train": 0, "val": 0}
    # Axolotl keys its cache by the recipe: it would train on the documents that are replaced here
    shutil.rmtree(out / "prepared", ignore_errors=True)
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(out / name)) for name in OUTPUTS}
        for index, path in enumerate(python_files(source, out)):
            name = os.fsencode(path.relative_to(source)).decode("utf-8", "backslashreplace")
            try:
                text, tree = read_source(path, max_chars)
                found = _documents(name, text, tree, seen, lines)
            except (RejectedError, RecursionError) as error:
                reason = str(error) if isinstance(error, RejectedError) else "nested too deep"
                reasons[reason] += 1
                line = {"index": index, "reason": reason, "row": {"id": name}}
                files["rejected.jsonl"].write(_json(line))
            else:
                split = "val" if _draw(text, seed) < val_share else "train"
                kept += 1
                documents[split] += len(found)
                characters[split] += sum(len(each["text"]) for each in found)
                files[f"{split}.jsonl"].writelines(map(_json, found))
        read = kept + reasons.total()
        if empty := [split for split, count in documents.items() if not count]:
            raise UserError(
                f"{source}: of {read:,} Python files none is left for {empty[0]}; give a "
                f"folder with more, or another --val-share than {val_share}"
            )
    manifest = {
        "format": "python-corpus",
        "source": str(source),
        "seed": seed,
        "val_share": val_share,
        "max_chars": max_chars,
        "lines": lines,
        "exclude": {str(path): sha256(path) for path in exclude},
        "read": read,
        "kept": kept,
        "rejected": reasons.total(),
        "reasons": commonest_first(reasons),
        "documents": documents,
        "characters": characters,
        "sha256": {name: sha256(out / name) for name in OUTPUTS},
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def read_problems(paths: Iterable[Path]) -> Problems:
    """Read the functions of the mini suite and of files of benchmarks.

    A file is HumanEval's, MBPP's, or has rows of prompt and solution. Raises UserError naming file
    and problem if one has no function.
    """
    problems = Problems()
    for task in own_tasks(MINI):
        problems.add(task.prompt + task.solution)
    for path in paths:
        for number, row in enumerate(read_published(path).rows, 1):
            try:
                found = problems.add(_program(row))
            except (
                AttributeError,
                StopIteration,
                TypeError,
                ValueError,
                SyntaxError,
                RecursionError,
            ):
                found = 0
            if not found:
                raise UserError(
                    f"{path}, problem {number}: holds no function; give the original file of "
                    "HumanEval or MBPP, or rows of prompt and solution"
                )
    return problems


def _program(problem: dict[str, str]) -> str:
    parts = next(parts for parts in PARTS if problem.keys() >= set(parts))
    return "".join(problem[part] for part in parts)


def python_files(folder: Path, leave_out: Path) -> Iterator[Path]:
    """Yield every path named *.py in a folder and below it, ordered within each folder.

    It does not follow links to folders, and does not enter `leave_out`.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if Path(parent, name) != leave_out)
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".py"))


def read_source(path: Path, max_chars: int) -> tuple[str, ast.Module]:
    """Return a file's text, its line ends `\\n`, and its syntax tree. Raises RejectedError."""
    if path.stem.lower().startswith(LICENCE_NAMES):
        raise RejectedError("licence file")
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise RejectedError("not a plain file")
        if status.st_size > 4 * max_chars:  # a character has 4 bytes at most
            raise RejectedError("too long")
        data = path.read_bytes()
    except OSError:
        raise RejectedError("cannot be read") from None
    text = _decode(data)
    if len(text) > max_chars:
        raise RejectedError("too long")
    tree = quietly(ast.parse, text)
    if tree is None:
        raise RejectedError("does not parse")
    if all(isinstance(each, ast.Import | ast.ImportFrom) or _is_text(each) for each in tree.body):
        raise RejectedError("no code")
    return text, tree


def _decode(data: bytes) -> str:
    """Return the text, decoded as the file declares (PEP 263), else as UTF-8."""
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
    """Return a number from 0 to 1 that depends only on the seed and the text's words."""
    data = f"{seed}\n{' '.join(text.split())}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) / 2**64


def _documents(
    name: str, text: str, tree: ast.Module, seen: _Seen, most_lines: int | None
) -> list[dict[str, str]]:
    """Return the documents of a file. Raises RejectedError if there are none."""
    if most_lines is None:
        seen.check(text, tree)
        return [{"id": name, "text": text}]
    lines = text.split("\n")
    found, reasons = [], []
    for function in short_functions(tree, most_lines):
        part = "\n".join(lines[function.lineno - 1 : function.end_lineno]) + "\n"
        try:
            seen.check(part, function)
            found.append({"id": f"{name}:{function.lineno}", "text": part})
        except RejectedError as error:
            reasons.append(error)
    if not found:
        raise next(iter(reasons), RejectedError("no short function with a docstring"))
    return found


def short_functions(tree: ast.Module, most_lines: int) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a module that have the form of a prompt with its solution.

    They have no decorator, a docstring, something after it, and at most `most_lines` lines.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            is_short = (node.end_lineno or 0) - node.lineno < most_lines
            if is_short and ast.get_docstring(node) and body(node):
                yield node


def print_summary(manifest: dict[str, Any], console: Console) -> None:
    """Print what became of the files."""
    counts = {name: manifest[name] for name in ("read", "kept")}
    print_counts("files", counts, manifest, console)
    for split, count in manifest["documents"].items():
        characters = manifest["characters"][split]
        console.print(f"{split}: {count:,} documents, {characters:,} characters")
