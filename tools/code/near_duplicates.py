"""Finds near-duplicates: rows of prompt and solution that are the same task.

Two rows are near-duplicates if the functions that they define last share one of these:

- the name, without case and underscores;
- the body: its shape (`tools.code.function_shapes`) with each constant but None, True and False
  replaced by its type, so that `n % 3` and `n % 7` agree;
- the docstring before its first example, without case, spacing and punctuation.

A task in other words, under another name, with another solution is not recognised.
"""

import ast
import re
from collections.abc import Mapping, Sequence

from tools.code.function_shapes import Function, shape


def keys(row: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return a row's keys; near-duplicates share one. Without a function it is the text alone."""
    try:
        function = _function(row)
        found = {("name", _plain(function.name)), ("body", shape(function, constants=False))}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset({("row", row["prompt"] + row["solution"])})
    if said := _said(ast.get_docstring(function) or ""):
        found.add(("text", said))
    return frozenset(found)


def group(rows: Sequence[Mapping[str, str]]) -> list[list[int]]:
    """Return the indexes of the rows of each group of near-duplicates, in order of the first.

    A near-duplicate of a near-duplicate is in the group too.
    """
    parents = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        for key in keys(row):
            one, other = root(first.setdefault(key, index)), root(index)
            parents[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for index in range(len(rows)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _function(row: Mapping[str, str]) -> Function:
    tree = ast.parse(row["prompt"] + row["solution"])
    defined = [node for node in tree.body if isinstance(node, Function)]
    if not defined:
        raise ValueError("it defines no function")
    return defined[-1]


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _said(docstring: str) -> str:
    before = re.split(r">>>|^\s*assert\b", docstring, maxsplit=1, flags=re.MULTILINE)[0]
    return " ".join(re.findall(r"\w+", before.casefold()))
