"""Verified emulation: does the output say what the program really returns?

Most CoGEX programs leave helpers undefined, and only a model can execute those. A complete program
(`tools.programs`) is run, and the emulated dict is compared with the true one, key by key. An
output that agrees is *faithful* to the true execution; the reference plays no part.

Integers, strings and all else must be equal in value and type; floats to 1e-9, relative. A true
value must be a literal (`repr`, read back by `ast.literal_eval`), and the same in both runs.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prompt_strategies.layout import Completion
from tools.programs import Returned, call_of, examine, run_twice, same
from tools.python_text import literal

FLOAT_TOLERANCE = 1e-9
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
    found = [Emulation(*examine(each.program, each.call)) for each in completions]
    complete = [index for index, item in enumerate(found) if item.status == "complete"]
    if not (allow_code_execution and complete):
        return found
    calls = [(completions[at].program, call_of(completions[at].call)) for at in complete]
    runs = run_twice(calls, allow_code_execution=True)
    for index, pair in zip(complete, runs, strict=True):
        found[index] = _compare(completions[index], *pair)
    return found


def _compare(completion: Completion, first: Returned, second: Returned) -> Emulation:
    """Judge both runs of one complete program."""
    if "timed_out" in (first.status, second.status):
        return Emulation("timed_out")
    if first != second:
        return Emulation("varies")
    status, value = first.status, literal(first.text)
    if status == "returned" and value is None and first.detail != "NoneType":
        status = "no_literal"
    elif status == "returned" and not isinstance(value, dict):
        status = "no_dict"
    if status != "returned":
        return Emulation(status, _names([first.detail]))
    return compare_dicts(value, literal(completion.output))


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
