"""Reads Python that a model wrote, without running it; no text makes it raise.

`take_program` and `take_literal` take what is asked for out of code fences and prose.
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

MOST_LINES = 1000  # of a text that are searched for a program
_FENCE = re.compile(r"`{3,}|~{3,}")
_LANGUAGE = re.compile(r"[ \t]*[\w+#.-]*(?:[ \t]*\{[^\n]*\}|[ \t]+\w+=[^\n]*)?[ \t]*(?:\n|\Z)")
# what chat templates put around a turn, and reasoning before an answer
_TURN = re.compile(
    r"\A.*</think(?:ing)?>|<\|\w*\|>|<\uff5c[^\uff5c]*\uff5c>|</?s>|<(?:start|end)_of_turn>|<eos>"
    r"|\[/?INST\]",
    re.DOTALL,
)
_STATEMENT = re.compile(
    r"(?:async +)?(?:def|class|for|while|if|with|try|import|from)\b|@|[A-Za-z_]\w*[ \t]*="
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def quietly(function: Callable[[str], Any], text: str) -> Any:
    """Return what a parser makes of a text; None if the text makes it raise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning: invalid escape sequence
            return function(text)
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        return None


def parse(program: str) -> ast.Module:
    """Return the tree of a program; an empty one if it is not Python."""
    return quietly(ast.parse, program) or ast.Module(body=[], type_ignores=[])


def compiles(program: str) -> bool:
    """Whether Python takes a program; `ast.parse` would allow `return` anywhere."""
    return quietly(lambda text: compile(text, "program", "exec"), program) is not None


def literal(text: str) -> Any:
    """Return the value of a Python literal; None for any other text."""
    return quietly(ast.literal_eval, text)


def defines(program: str, name: str) -> bool:
    """Whether a program defines a name at its top level; any function will do if it is empty."""
    for node in parse(program).body:
        if isinstance(node, _FUNCTIONS) and name in ("", node.name):
            return True
        targets = node.targets if isinstance(node, ast.Assign) else []
        if name and any(isinstance(item, ast.Name) and item.id == name for item in targets):
            return True
    return False


def take_program(text: str, prompt: str = "", name: str = "") -> str:
    """Return the program that a text holds in a code fence or among prose, else the text.

    A text that is Python as it stands is returned unchanged. `prompt` is what the text may
    continue; then what is taken out may be the rest of the prompt's last function. Of several
    programs it is the one that defines `name` (any function if it is empty), then the longest.
    """

    def rank(program: str) -> int:
        if not program.strip():
            return 0
        whole = compiles(program)
        if whole and defines(program, name):
            return 3
        if prompt and program.lstrip("\n")[:1] in " \t" and compiles(prompt + program):
            return 2
        return int(whole and defines(program, ""))

    if rank(text) > 1 or (prompt and text.strip() and compiles(prompt + text)):
        return text
    cleaned = _TURN.sub("\n", text.replace("\r\n", "\n"))
    lines = cleaned.split("\n")[:MOST_LINES]
    cleaned = "\n".join(lines)
    best, most = text, (0, 0)
    # a fence says where a program is; prose must be tried line by line
    for candidates in (_fenced(cleaned), _among_prose(lines, prompt)):
        for candidate in candidates:
            found = rank(candidate), sum(map(bool, map(str.strip, candidate.split("\n"))))
            if found[0] and found > most:
                best, most = candidate, found
        if most[0] > 1:
            break
    return best


def take_literal(text: str) -> Any:
    """Return the value of the Python literal in a text, in a fence or before prose; else None."""
    if (value := literal(text)) is not None:
        return value
    cleaned = _TURN.sub("\n", text)
    for part in (*_fenced(cleaned), cleaned):
        lines = part.strip().split("\n")[:MOST_LINES]
        for end in range(len(lines), 0, -1):
            if (value := literal("\n".join(lines[:end]).strip())) is not None:
                return value
    return None


def _fenced(text: str) -> Iterator[str]:
    """Yield what stands in each code fence, before the first, and between the first and the last.

    A fence that is never closed goes to the end. What is indented also comes without that.
    """
    marks = list(_FENCE.finditer(text))
    if not marks:
        yield text
        return
    yield text[: marks[0].start()]
    start, opened = None, ""
    first = None
    for mark in marks:
        if start is None:
            language = _LANGUAGE.match(text, mark.end())
            start, opened = language.end() if language else mark.end(), mark[0]
            first = start if first is None else first
        elif mark[0].startswith(opened):
            yield from _both_indents(text[start : mark.start()])
            start = None
    yield from _both_indents(text[start:] if start is not None else text[first : marks[-1].start()])


def _both_indents(text: str) -> Iterator[str]:
    yield text
    yield textwrap.dedent(text)


def _among_prose(lines: list[str], prompt: str) -> Iterator[str]:
    """Yield each run of lines that Python takes, from a line where a statement may begin."""
    end = indented = 0
    for start, line in enumerate(lines):
        if start < end:
            continue
        if _STATEMENT.match(line):
            end = _end_of_python(lines, start, "")
            yield "\n".join(lines[start:end]) + "\n"
        elif line[:1] in (" ", "\t") and line.strip():
            if start >= indented:
                indented = start + 1
                while indented < len(lines) and lines[indented][:1] in ("", " ", "\t"):
                    indented += 1
                yield textwrap.dedent("\n".join(lines[start:indented])) + "\n"
            if prompt:
                end = _end_of_python(lines, start, prompt)
                yield "\n".join(lines[start:end]) + "\n"


def _end_of_python(lines: list[str], start: int, prompt: str) -> int:
    """Return where the longest run of lines from `start` that Python takes ends."""
    end, before = len(lines), prompt.count("\n")
    while end > start:
        source = prompt + "\n".join(lines[start:end]) + "\n"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse(source).body
        except SyntaxError as error:
            end = min(end - 1, start + max(0, (error.lineno or 0) - 1 - before))
            continue
        except (ValueError, RecursionError, MemoryError):
            return start
        if not (body and isinstance(body[-1], ast.Expr) and _is_prose(body[-1].value)):
            return end
        end = start + body[-1].lineno - 1 - before  # a word alone is Python, too
    return end


def _is_prose(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Tuple | ast.BinOp | ast.UnaryOp | ast.Compare)
