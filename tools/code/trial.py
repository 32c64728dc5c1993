"""Tries a program that nobody has read against its tests, so that it cannot forge the verdict.

A test in the program's own process is no judge: there the program can leave with status 0, print
what a test prints, replace `assert`'s exception or the interpreter's builtins, or read the secret
that was to protect the result. So two sandboxes are used (`tools.sandbox.run_pairs`). The program
is in one, and gets arguments; the tests are in the other, and get plain values back
(`tools.code.remote`). The verdict is what the tests' process prints, and the program has no
way into it: whatever it does, it can only answer, answer wrongly, or not answer.

What a test of this kind cannot see: a change that a function makes to its arguments, which are
copies; and a result that is no plain value (None, bool, int, float, complex, str, bytes, list,
tuple, set, dict, a builtin type; subclasses count as these) equals nothing but itself. No
test of HumanEval or MBPP needs either. That the *tests* are honest is taken for granted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.code import remote
from tools.sandbox import Limits, Outcome, run_pairs

VERDICTS = {
    "passed": "passed its tests",
    "wrong": "gives a wrong answer",
    "exception": "raises an exception",
    "syntax": "is no Python",
    "missing": "does not define the function",
    "timeout": "takes too long",
    "memory": "takes too much memory",
    "output": "prints too much",
    "died": "ends the process, or closes the channel",
    "unreadable": "answers by what is no answer",
    "too_long": "is too long to be run",
    "bad_test": "has tests that cannot be run",
}
# what computes is ended by its CPU seconds; the clock runs long, for a busy machine must not fail
# a right program
LIMITS = Limits(seconds=60.0)
LONGEST = 1_000_000  # characters of a program; ten bytes each, at most, on its way to the sandbox


@dataclass(frozen=True)
class Trial:
    """A program and the tests of it.

    `tests` call the program's `names`; `setup` runs before them in their own process, and defines
    what else they use (it may define the names too, which are then bound anew).
    """

    program: str
    tests: str
    names: tuple[str, ...]
    setup: str = ""


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`, and the exception or the like that led to it."""

    kind: str
    detail: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.kind == "passed"


def try_programs(
    trials: Sequence[Trial], *, allow_code_execution: bool, limits: Limits = LIMITS
) -> list[Verdict]:
    """Return the verdict on each trial, in order; a program over `LONGEST` is not run.

    `limits` hold for the program and for its tests, each. Raises UserError without consent, or
    where the sandbox cannot run; then nothing was run.
    """
    fits = [len(trial.program) <= LONGEST for trial in trials]
    pairs = [
        (_served(trial), _judged(trial)) for trial, fit in zip(trials, fits, strict=True) if fit
    ]
    outcomes = iter(run_pairs(pairs, allow_code_execution=allow_code_execution, limits=limits))
    return [_verdict(*next(outcomes)) if fit else Verdict("too_long", "", 0.0) for fit in fits]


def _served(trial: Trial) -> str:
    return f"{_REMOTE}\nserve(int(sys.argv[1]), {trial.program!a})\n"


def _judged(trial: Trial) -> str:
    parts = f"{trial.setup!a}, {list(trial.names)!a}, {trial.tests!a}"
    return f"{_REMOTE}\njudge(int(sys.argv[1]), {parts})\n"


def _verdict(program: Outcome, tests: Outcome) -> Verdict:
    """Read the verdict of the tests' process; where it has none, say what came in between."""
    try:
        kind, detail = json.loads(tests.stdout)
    except ValueError:
        kind, detail = "timeout" if tests.timed_out else "bad_test", tests.stderr[-200:]
    if kind == "died":  # then the program's own end tells why
        if program.timed_out:
            kind = "timeout"
        elif program.output_cut:
            kind = "output"
        else:
            detail = f"exit status {program.status}"
    # an exception's text is the program's own, and may hold half a character
    return Verdict(kind, detail.encode("utf-8", "replace").decode(), tests.seconds)


_REMOTE = Path(remote.__file__).read_text(encoding="utf-8")
