"""The fields of a file as `cogex prepare NAME --help` and docs/data.md show them."""

from prompt_strategies.base import CompletionStrategy

_KINDS = {str: "text", dict: "object", (): "any value"}
_OF_EVERY_FILE = (
    ("id", "text or integer", "no", "row-N if there is none; made unique"),
    ("family", "text or integer", "no", "kept: `cogex check` counts by it"),
)


def schema(strategy: type[CompletionStrategy]) -> list[tuple[str, str, str, str]]:
    """Return a row for each field of the published file: names, kinds, needed, changes."""
    fields = [
        (
            " or ".join(each.names),
            " or ".join(_KINDS[kind] for kind in each.kinds or ((),)),
            "yes" if each.required else "no",
            each.changed,
        )
        for each in strategy.published_fields
    ]
    return [*fields, *(_OF_EVERY_FILE if strategy.published else ())]


def help_text(strategy: type[CompletionStrategy], summary: str) -> str:
    """Return the help of a command: its summary, and the fields of its file."""
    lines = [
        f"- {names}: {kinds}{', needed' if needed == 'yes' else ''}; {changed}"
        for names, kinds, needed, changed in schema(strategy)
    ]
    return f"{summary}\n\nFields of the file (docs/data.md has more):\n\n\b\n" + "\n".join(lines)
