"""Verified emulation: does the output say what the program really returns?

Most CoGEX programs leave helpers undefined, and only a model can execute those. A program is
*complete* if every name that it reads is defined in it, is a builtin, or comes from a module of
`PURE_MODULES`. Then Python can run it: program and call run in `tools.sandbox`, and the emulated
dict is compared with the true one, key by key. An output that agrees is *faithful* to the true
execution; the reference plays no part.

Integers, strings and all else must be equal in value and type; floats to 1e-9, relative. A true
value must be a literal (`repr`, read back by `ast.literal_eval`), and the same for two orders of
sets, so each program is run twice. What depends on chance, the clock or the machine has no one
true value, and is not run. These lists keep such programs out. They do not isolate a program; the
sandbox does.
"""

import ast
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prompt_strategies.layout import Completion
from tools.python_text import literal
from tools.sandbox import Limits, Outcome, run_programs
from validation.check.programs import (
    BUILTINS,
    call_of,
    names_from_outside,
    parse,
    quietly,
    same,
)

FLOAT_TOLERANCE = 1e-9
LIMITS = Limits(output=1 << 16)  # a true dict is as short as one that a model writes
STATUSES = {
    "unreadable": "are not Python, or have no call",
    "not_allowed": "use a name or module that is not run here",
    "undefined": "leave names undefined",
    "complete": "are complete, and were not run",
    "crashed": "raise an exception",
    "timed_out": "run too long",
    "varies": "return another value in another run",
    "no_literal": "return no literal",
    "no_dict": "return no dict",
    "returned": "return a dict, compared with the output",
}
_NEVER_RUN = ("unreadable", "not_allowed", "undefined")

PURE_MODULES = frozenset(
    "__future__ abc bisect calendar cmath collections copy dataclasses datetime decimal difflib "
    "enum fractions functools heapq itertools json math numbers operator re statistics string "
    "textwrap typing unicodedata".split()
)
IMPURE_BUILTINS = frozenset(
    "__import__ breakpoint compile copyright credits eval exec exit hash help id input license "
    "open quit".split()
)
# of datetime: the clock, and the time zone of the machine
_CLOCK = frozenset("now today utcnow fromtimestamp timestamp astimezone".split())

_HARNESS = """
import contextlib, io, json, sys
report = {}
with contextlib.redirect_stdout(io.StringIO()):
    try:
        names = {"__name__": "__main__"}
        exec(PROGRAM, names)
        value = eval(CALL, names)
        report["type"] = type(value).__name__
        report["text"] = repr(value)
    except BaseException as error:
        report["error"] = type(error).__name__
json.dump(report, sys.stdout)
"""


@dataclass(frozen=True)
class Emulation:
    """What became of one program; a key that is not a printable string is named by its `repr`.

    `status` is one of `STATUSES`; `detail` holds the undefined names, what is not allowed, the
    exception or the type of the value.
    """

    status: str
    detail: tuple[str, ...] = ()
    agreeing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # in the true dict alone
    extra: tuple[str, ...] = ()  # in the emulated dict alone

    @property
    def true_keys(self) -> tuple[str, ...]:
        """The keys of the true dict."""
        return self.agreeing + self.differing + self.missing

    @property
    def faithful(self) -> bool:
        """Whether the emulated dict is the true one."""
        return self.status == "returned" and self.agreeing == self.true_keys and not self.extra


def verify_emulation(
    completions: Sequence[Completion], *, allow_code_execution: bool
) -> list[Emulation]:
    """Compare each emulated output with the true one, where the program is complete.

    Without consent complete programs stay `complete`. Raises UserError if there is a program to
    run and the sandbox cannot run.
    """
    found = [examine(completion) for completion in completions]
    complete = [index for index, item in enumerate(found) if item.status == "complete"]
    if not (allow_code_execution and complete):
        return found
    sources = [_harness(completions[index]) for index in complete]
    first, second = (
        run_programs(sources, allow_code_execution=True, limits=LIMITS, hash_seed=seed)
        for seed in (0, 1)
    )
    for index, *outcomes in zip(complete, first, second, strict=True):
        found[index] = _compare(completions[index], outcomes)
    return found


def examine(completion: Completion) -> Emulation:
    """Say whether a program is `complete`, and if not, why; nothing is run."""
    tree, call = parse(completion.program), call_of(completion.call)
    if not tree.body or quietly(lambda text: ast.parse(text, mode="eval"), call) is None:
        return Emulation("unreadable")
    names = names_from_outside(f"{completion.program}\n{call}")
    if names is None:
        return Emulation("unreadable")
    if found := sorted({*_impure(tree), *(names & IMPURE_BUILTINS)}):
        return Emulation("not_allowed", tuple(found))
    if undefined := sorted(names - BUILTINS):
        return Emulation("undefined", tuple(undefined))
    return Emulation("complete")


def _impure(tree: ast.Module) -> Iterator[str]:
    """The imports and attributes that are not allowed; a star hides what it defines."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] not in PURE_MODULES:
                        yield f"import {alias.name}"
            case ast.ImportFrom(module=module, names=names, level=level):
                pure = not level and str(module).split(".")[0] in PURE_MODULES
                if not pure or names[0].name == "*":
                    yield f"from {'.' * level}{module or ''} import {names[0].name}"
            case ast.Attribute(attr=name) if name in _CLOCK:
                yield f".{name}"


def _harness(completion: Completion) -> str:
    """The source that is run: its last line of output is a report in JSON."""
    program, call = completion.program, call_of(completion.call)
    return f"PROGRAM = {program!a}\nCALL = {call!a}\n{_HARNESS}"


def _compare(completion: Completion, outcomes: Sequence[Outcome]) -> Emulation:
    """Judge both runs of one complete program."""
    if any(outcome.timed_out for outcome in outcomes):
        return Emulation("timed_out")
    first, second = map(_end, outcomes)
    if first != second:
        return Emulation("varies")
    status, detail, text = first
    value = literal(text)
    if status == "returned" and value is None and detail != "NoneType":
        status = "no_literal"
    elif status == "returned" and not isinstance(value, dict):
        status = "no_dict"
    if status != "returned":
        return Emulation(status, _names([detail]))
    return compare_dicts(value, literal(completion.output))


def _end(outcome: Outcome) -> tuple[str, str, str]:
    """Return the status, the type of value or exception, and the value's `repr`."""
    match quietly(json.loads, outcome.stdout):
        case {"type": str(kind), **rest}:
            return "returned", kind, str(rest.get("text", ""))
        case {"error": str(exception)}:
            return "crashed", exception, ""
    if outcome.output_cut:
        return "no_literal", f"over {LIMITS.output:,} bytes", ""
    return "crashed", f"exit status {outcome.status}", ""


def compare_dicts(true: dict[Any, Any], emulated: Any) -> Emulation:
    """Compare an emulated output with the true dict, key by key; the order does not count."""
    written = emulated if isinstance(emulated, dict) else {}
    shared = [key for key in true if key in written]
    agreeing = [key for key in shared if same(true[key], written[key], FLOAT_TOLERANCE)]
    return Emulation(
        "returned",
        agreeing=_names(agreeing),
        differing=_names(key for key in shared if key not in agreeing),
        missing=_names(key for key in true if key not in written),
        extra=_names(key for key in written if key not in true),
    )


def _names(keys: Iterable[Any]) -> tuple[str, ...]:
    """Name keys so that they can be written: a lone surrogate cannot."""
    return tuple(key if isinstance(key, str) and key.isprintable() else repr(key) for key in keys)


def summarize(emulations: Sequence[Emulation]) -> dict[str, Any]:
    """Return how many programs are complete and were run, and the shares that agree.

    Each share is `count` of `of`, summed over all programs before it is divided: `keys` over
    the keys of the true dicts, `faithful` over the programs that returned a dict, `answers` over
    those of them with an answer.
    """
    counts = Counter(item.status for item in emulations)
    complete = len(emulations) - sum(counts[status] for status in _NEVER_RUN)
    compared = [item for item in emulations if item.status == "returned"]
    with_answer = [item for item in compared if "answer" in item.true_keys]
    return {
        "programs": len(emulations),
        "complete": complete,
        "run": complete - counts["complete"],
        "statuses": {status: counts[status] for status in STATUSES if counts[status]},
        "keys": {
            "count": sum(len(item.agreeing) for item in compared),
            "of": sum(len(item.true_keys) for item in compared),
        },
        "faithful": {
            "count": sum(item.faithful for item in compared),
            "of": len(compared),
        },
        "answers": {
            "count": sum("answer" in item.agreeing for item in with_answer),
            "of": len(with_answer),
        },
    }
