"""Tries programs of this project against tests: all in one sandbox, with a timer for loops."""

import json

from tools.sandbox import Limits, run_programs

_LIMITS = Limits(seconds=120, cpu_seconds=100)
_HARNESS = """
import json, signal
class Slow(Exception): pass
def stop(*_): raise Slow
signal.signal(signal.SIGALRM, stop)
found = []
for program, tests in json.loads(CASES):
    for test in tests:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            names = {}
            exec(program, names)
            exec(test, names)
            found.append(True)
        except BaseException:
            found.append(False)
        signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps(found))
"""


def passing(cases: list[tuple[str, list[str]]], seconds: float = 1.0) -> list[bool]:
    """Whether each program passes each of its tests within `seconds`, one after the other."""
    source = f"SECONDS = {seconds}\nCASES = {json.dumps(cases)!a}\n{_HARNESS}"
    [outcome] = run_programs([source], allow_code_execution=True, limits=_LIMITS)
    found: list[bool] = json.loads(outcome.stdout)
    assert len(found) == sum(len(tests) for _, tests in cases)
    return found
