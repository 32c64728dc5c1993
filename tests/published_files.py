"""Where the original files of benchmarks are: fetched, or in a folder beside the repository."""

from pathlib import Path

import pytest

from tools.prepare.fetch import FILES, FOLDER

_ROOT = Path(__file__).parents[1]


def published_file(name: str) -> Path:
    """Return where a file lies; it may not be there."""
    fetched = _ROOT / FOLDER / FILES[name].file
    return fetched if fetched.is_file() else _ROOT.parent / "shared/data" / FILES[name].file


HUMANEVAL, MBPP = published_file("humaneval"), published_file("mbpp")
needs_published_files = pytest.mark.skipif(
    not (HUMANEVAL.is_file() and MBPP.is_file()), reason="HumanEval and MBPP are not here"
)
