"""Scores predicted outputs of CRUXEval (Gu et al. 2024, arXiv 2401.03065) as its evaluator does.

A row has a function `f`, its input and its output; a sample is what a model says that the output
is. The reference runs `assert OUTPUT == SAMPLE` after the function. Here a literal is compared
without running anything. Any other expression runs in the sandbox, or without consent is not run
and so not solved.
"""

import ast
import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.code.tasks import read_published, strings
from tools.code.trial import Trial, try_programs
from tools.errors import UserError
from tools.prepare.fields import RejectedError
from tools.python_text import quietly, take_literal
from tools.sandbox import Limits
from validation.code.pass_at_k import summarise

PASS_AT = (1, 5)
Row = dict[str, str]


def read_rows(path: Path) -> tuple[dict[str, Row], dict[str, str]]:
    """Return the benchmark's rows by id, and its file. Raises UserError naming what is no row."""
    keys = ("id", "code", "input", "output")
    published = read_published(path)
    rows = {}
    for number, row in enumerate(published.rows, 1):
        try:
            values = strings(row, *keys)
        except RejectedError as reason:
            raise UserError(
                f"{path}, task {number}: {reason}; give the benchmark's cruxeval.jsonl"
            ) from None
        rows[values[0]] = dict(zip(keys, values, strict=True))
    return rows, {"path": str(path), "sha256": published.sha256}


def read_generations(path: Path, rows: Mapping[str, Row]) -> tuple[dict[str, list[str]], list[str]]:
    """Read the reference's file: `{"sample_0": ["...", ...], ...}`, gzipped or not.

    Returns the texts of the benchmark's rows, and the other ids, once for each text. Raises
    UserError if it is another file.
    """
    try:
        data = path.read_bytes()
        found = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON: {error}; give CRUXEval's generations") from None
    for name, texts in found.items() if isinstance(found, dict) else [("its content", None)]:
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{path}, {name}: is not a list of texts; CRUXEval's generations are "
                '{"sample_0": ["...", ...], ...}'
            )
    if not found.keys() & rows.keys():
        raise UserError(f"{path}: has no id of the benchmark, such as {next(iter(rows))!r}")
    unknown = [name for name, texts in found.items() if name not in rows for _ in texts]
    return {name: found.get(name, []) for name in rows}, unknown


def score(
    name: str,
    rows: Mapping[str, Row],
    generations: Mapping[str, list[str]],
    limits: Limits,
    *,
    allow_code_execution: bool,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the model's figures, and a line for each sample; as `codebench` has them.

    A sample that repeats the call is not counted, as in the reference. Raises UserError where the
    sandbox is asked for and cannot run.
    """
    samples = [
        (row, text)
        for row in rows.values()
        for text in generations[row["id"]]
        if f"f({row['input']})" not in text
    ]
    read = [_read(*sample) for sample in samples]
    trials = [item for item in read if isinstance(item, Trial)] if allow_code_execution else []
    verdicts = try_programs(trials, allow_code_execution=True, limits=limits) if trials else ()
    found = (verdict.kind for verdict in verdicts)
    kinds = [next(found, "not run") if isinstance(item, Trial) else item for item in read]
    again = [
        "passed" if kind == "syntax" and _right_when_taken_out(*sample) else None
        for kind, sample in zip(kinds, samples, strict=True)
    ]
    section = summarise(
        name,
        list(rows),
        [(s[0]["id"], kind, a) for s, kind, a in zip(samples, kinds, again, strict=True)],
        valid=len(kinds) - kinds.count("syntax"),
        ks=PASS_AT,
    )
    lines = [
        {
            "model": name,
            "task_id": row["id"],
            "passed": kind == "passed",
            "result": kind,
            "taken_out": other,
            "output": row["output"],
            "generated": text.encode("utf-8", "backslashreplace").decode(),
        }
        for (row, text), kind, other in zip(samples, kinds, again, strict=True)
    ]
    return section, lines


def _read(row: Row, text: str) -> str | Trial:
    """Return the verdict on a text, or for an expression that must be run its trial."""
    tree = quietly(ast.parse, f"assert {row['output']} == {text}")
    if tree is None:
        return "syntax"
    match tree.body:
        case [ast.Assert(test=ast.Compare(ops=[ast.Eq()], comparators=[said]))]:
            expected, value = _value(row["output"]), _value(ast.unparse(said))
            if expected and value:
                return "passed" if expected == value else "wrong"
            program = f"{row['code']}\n\ndef said():\n    return {ast.unparse(said)}\n"
            return Trial(program, f"assert {row['output']} == said()", ("said",))
    return "wrong"


def _value(text: str) -> tuple[Any] | None:
    """Return the value of a literal, in a tuple because it may be None; None for other texts."""
    return quietly(lambda literal: (ast.literal_eval(literal),), text)


def _right_when_taken_out(row: Row, text: str) -> bool:
    """Whether the literal that stands in a fence or before prose is right."""
    value = take_literal(text)
    return value is not None and (value,) == _value(row["output"])
