"""The one error that a person is meant to read, and what to do about a path that is not there."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


class UserError(Exception):
    """The input cannot be used: the message says what, where and what to do.

    `cogex` prints the message alone, without a traceback, and exits with 2.
    """


def remedy(path: Path | str, otherwise: str) -> str:
    """Say what makes a path that is not there, or where a relative one starts; else `otherwise`."""
    path = Path(path)
    if not path.is_absolute() and not path.exists() and (REPOSITORY / path).exists():
        return f"it lies in {REPOSITORY}; run in the repository's folder"
    match path.parts:
        case ("data", "tiny", *_):
            return "`cogex demo` makes it"
        case ("data", "code-base", *_):
            return "`cogex prepare code-base` makes it"
        case ("outputs", name, "best", *_) if (Path("recipes") / f"{name}.yml").is_file():
            return f"train recipes/{name}.yml, then run `cogex select recipes/{name}.yml`"
    return otherwise
