"""`cogex search --leaves`: what the undefined functions of programs do.

A program's *leaves* are the functions that it calls and that neither it nor Python defines. Scores
of all candidates are counted by leaves, and the kept programs are emulated once more on the test
rows: with other names for their leaves, without docstrings and comments, and with leaves defined
where the task card gives a definition. Each is held against the program as it was found.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from typing import Any

from tools.intervals import paired, wilson
from tools.programs import leaves_of
from tools.python_text import parse
from tools.search.scoring import Scorer

VARIANTS = {
    "renamed": "leaves named f1, f2, …",
    "bare": "without docstrings and comments",
    "defined": "with the card's definitions",
}


def of_leaves(scorer: Scorer, result: dict[str, Any]) -> dict[str, Any]:
    """Count the candidates' scores by leaves, and emulate the kept programs' variants."""
    scored = [
        (leaves_of(item["program"]), item["dev"]["right"], item["dev"]["rows"])
        for item in result["candidates"]
    ]
    return {**by_leaves(scored), "programs": _ablated(scorer, result["programs"])}


def by_leaves(scored: Sequence[tuple[Sequence[str], int, int]]) -> dict[str, Any]:
    """Add up (leaves, right, rows) by the number of leaves, and by leaf."""
    numbers: dict[str, list[tuple[int, int]]] = {}
    names: dict[str, list[tuple[int, int]]] = {}
    for leaves, right, rows in scored:
        numbers.setdefault(str(len(leaves)), []).append((right, rows))
        for name in leaves:
            names.setdefault(name, []).append((right, rows))
    return {
        "by_number": {name: _summed(numbers[name]) for name in sorted(numbers, key=int)},
        "by_leaf": {name: _summed(names[name]) for name in sorted(names)},
    }


def _summed(counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    right, rows = (sum(column) for column in zip(*counts, strict=True))
    interval = list(wilson(right, rows)) if rows else None
    return {"programs": len(counts), "right": right, "rows": rows, "interval_95": interval}


def _ablated(scorer: Scorer, kept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    programs = [item["program"] for item in kept]
    variants = [
        dict(_variants(program, scorer.task.card.definitions or "")) for program in programs
    ]
    rows = scorer.task.test
    every = [*programs, *(text for made in variants for text in made.values())]
    different = list(dict.fromkeys(every))
    scorer.store.enter("leaves", len(different) * len(rows))
    answers = scorer.emulate(different, rows, "programs with other leaves")
    right = dict(zip(different, (scorer.right(given, rows) for given in answers), strict=True))
    return [
        {
            "program": program,
            "leaves": leaves_of(program),
            "right": sum(right[program]),
            "rows": len(rows),
            "variants": {
                name: {"program": text, "right": sum(right[text])}
                | paired(right[program], right[text])
                for name, text in made.items()
            },
        }
        for program, made in zip(programs, variants, strict=True)
    ]


def _variants(program: str, definitions: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each variant that differs from the program."""
    made = {
        "renamed": renamed(program),
        "bare": bare(program),
        "defined": defined(program, definitions),
    }
    yield from ((name, text) for name, text in made.items() if text != program)


def renamed(program: str) -> str:
    """Return a program whose leaves are named f1, f2 and so on, in the order of their calls."""
    leaves = leaves_of(program)
    used = {*re.findall(r"\w+", program)}
    free = (name for number in range(1, 10_000) if (name := f"f{number}") not in used)
    names = dict(zip(leaves, free, strict=False))
    places = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(parse(program))
        if isinstance(node, ast.Name) and node.id in names
    ]
    lines = [line.encode() for line in program.split("\n")]  # columns count bytes
    for number, start, name in sorted(places, reverse=True):
        line = lines[number - 1]
        lines[number - 1] = line[:start] + names[name].encode() + line[start + len(name.encode()) :]
    return b"\n".join(lines).decode()


def bare(program: str) -> str:
    """Return a program without docstrings and comments; a line that held nothing else is gone."""
    lines: dict[int, str] = dict(enumerate(program.split("\n"), 1))
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row] = lines[row][:column].rstrip()
            if not lines[row]:
                del lines[row]
    for node in ast.walk(parse(program)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            for row in range(text.lineno, (text.end_lineno or text.lineno) + 1):
                lines.pop(row, None)
            if len(node.body) == 1:
                lines[text.lineno] = f"{' ' * text.col_offset}pass"
    kept = "\n".join(lines[row] for row in sorted(lines))
    return kept if parse(kept).body else program  # as in `def f(): 'text'`


def defined(program: str, definitions: str) -> str:
    """Return a program below the definitions of its leaves, and of what those call in turn."""
    known = {
        node.name: ast.get_source_segment(definitions, node) or ""
        for node in parse(definitions).body
        if isinstance(node, ast.FunctionDef)
    }
    text = program
    while wanted := [name for name in leaves_of(text) if name in known]:
        text = "\n\n".join([*(known.pop(name) for name in wanted), text])
    return text
