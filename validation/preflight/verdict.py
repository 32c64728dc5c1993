"""What one check of preflight found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.errors import UserError

Verdict = Literal["ok", "note", "fail"]
COLOURS: dict[str, str] = {"ok": "green", "note": "yellow", "fail": "red"}

# what code meets that takes a recipe's value for what it should be; OSError: a name too long
_WRONG_VALUE = (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, OSError)


@dataclass(frozen=True)
class Finding:
    """One line of preflight's table.

    `note` is for what cannot be looked at here, or is worth knowing and stops nothing; only
    `fail` makes preflight exit 1, and then `todo` says what to do.
    """

    section: str  # recipe, strategy, access, data, tokens, model or plan
    check: str  # what was looked at, in a few words
    value: str  # what was found, with its figure and unit
    verdict: Verdict = "ok"
    todo: str = ""
    figures: dict[str, Any] = field(default_factory=dict)  # the same for machines


def look(section: str, check: str, work: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what `work` finds; a recipe so wrong that it cannot even be looked at is a failure.

    A list where a number belongs stops Axolotl's, PEFT's and transformers' code in many ways; the
    schema's own finding then says which key it is.
    """
    try:
        return work()
    except UserError as error:
        return [Finding(section, check, "cannot be looked at", "fail", str(error))]
    except _WRONG_VALUE as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        todo = f"a value of the recipe has the wrong type or size; correct it ({what})"
        return [Finding(section, check, "cannot be looked at", "fail", todo)]
