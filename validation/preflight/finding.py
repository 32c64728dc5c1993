"""What one check of preflight found."""

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "note", "fail"]


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
