"""A program of CoGEX with undefined leaf functions, and the true functions that it is run with.

The rows of the tiny world and those of `cogex prepare knowledge` come from such programs: their
outputs are computed, never written by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Program:
    """A function's source, and what its undefined calls do (`leaves`, by name)."""

    source: str
    leaves: Mapping[str, Callable[..., Any]] = field(compare=False, repr=False)

    @cached_property
    def name(self) -> str:
        """The name of its function."""
        return self.source.split("(")[0].removeprefix("def ")

    @cached_property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        return self.source.split("(")[1].split(")")[0].split(", ")

    @cached_property
    def scope(self) -> dict[str, Any]:
        """The names that it runs with; it is compiled once."""
        scope = dict(self.leaves)
        exec(self.source, scope)
        return scope

    def call(self, args: tuple[Any, ...]) -> str:
        """The call with literal arguments, as `name(arg, …)`."""
        return f"{self.name}({', '.join(map(repr, args))})"

    def run(self, *args: Any) -> dict[str, Any]:
        """Run it with the leaf functions; return its output dict."""
        return self.scope[self.name](*args)
