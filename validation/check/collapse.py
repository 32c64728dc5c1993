"""Finds mode collapse: loops, empty generations, the same text for every prompt.

A generation loops where

- a statement keyword of Python occurs twice in a row on a line ("return return", "def def"), or
- the same n-gram, of 1 to 32 words and with a letter in it, occurs 8 times or more in a row.

A word is a run of letters and digits, or one other character. A repetition with a comma in it does
not count: `['a', 'a', 'a']` is honest data, and if it never ends it hits the length limit.
"""

import operator
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tools.backend import Generation

COLLAPSE = {
    "loops": "repeats an n-gram over and over",
    "empty": "writes nothing",
    "identical": "writes what it wrote for another prompt",
    "length_limit": "hits the length limit",
}
# the largest share for exit 0; the length limit has the measure `ends_by_eos` for that
AT_MOST = {"loops": 0.01, "empty": 0.01, "identical": 0.05}

LONGEST_NGRAM, REPEATS = 32, 8
# no expression keyword: "is is" and "in in" are slips of honest text
_TWICE = re.compile(
    r"\b(assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global"
    r"|if|import|nonlocal|pass|raise|return|try|while|with|yield)[ \t]+\1\b"
)
_WORD = re.compile(r"\w+|[^\w\s]")


def find_loop(text: str) -> str | None:
    """Return what a text repeats, once; None if nothing loops."""
    if match := _TWICE.search(text):
        return match[0]
    for part in text.split(","):
        words = _WORD.findall(part)
        for size in range(1, min(LONGEST_NGRAM, len(words) // REPEATS) + 1):
            equal = bytes(map(operator.eq, words, words[size:]))  # to the word `size` further on
            for run in re.finditer(b"\1{%d,}" % (size * (REPEATS - 1)), equal):
                ngram = " ".join(words[run.start() : run.start() + size])
                if any(map(str.isalpha, ngram)):
                    return ngram
    return None


def measure_collapse(
    prompts: Sequence[str],
    generations: Sequence[Generation],
    references: Sequence[Generation] | None = None,
) -> dict[str, Any]:
    """Return for each name of `COLLAPSE` its count, of how many, its threshold and verdict.

    `identical` is counted over distinct prompts: how many have the commonest of all texts. With
    references, what they do themselves is no collapse: a threshold is a share beyond theirs.
    """
    counts, expected = _counts(prompts, generations), _counts(prompts, references or [])
    return {
        name: {
            "count": count,
            "rows": rows,
            "references": dict(zip(("count", "rows"), expected[name], strict=True)),
            "at_most": AT_MOST.get(name),
            "passed": name not in AT_MOST
            or count / max(rows, 1) <= AT_MOST[name] + _share(expected[name]) + 1e-12,
        }
        for name, (count, rows) in counts.items()
    }


def _counts(
    prompts: Sequence[str], generations: Sequence[Generation]
) -> dict[str, tuple[int, int]]:
    texts = [generation.text for generation in generations]
    by_prompt = Counter(dict(zip(prompts, texts, strict=False)).values())
    [(_, commonest)] = by_prompt.most_common(1) or [("", 0)]
    return {
        "loops": (sum(find_loop(text) is not None for text in texts), len(texts)),
        "empty": (sum(not text.strip() for text in texts), len(texts)),
        "identical": (commonest if commonest > 1 else 0, by_prompt.total()),
        "length_limit": (sum(not generation.ended for generation in generations), len(texts)),
    }


def _share(part: tuple[int, int]) -> float:
    count, rows = part
    return count / max(rows, 1)
