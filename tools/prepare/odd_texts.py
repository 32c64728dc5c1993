"""Names what is odd in the texts of a row, whatever the dataset; the row is kept."""

import re
import unicodedata
from collections.abc import Iterator, Mapping

# what published rows and tools write where there is no input
_NO_INPUT = frozenset(
    "|n/a|na|n.a|none|null|nil|nan|no input|noinput|no_input|no input provided|no input needed|no "
    "input required|not applicable|not provided|empty|undefined|false|-|--|\u2013|\u2014|?".split(
        "|"
    )
)
_AROUND = "<>[](){}\"'`*. "
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_HEADER = re.compile(
    r"^### (?:Instruction|Input|Code|Plan|Output|Response):?[ \t\r]*$", re.MULTILINE
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# joiners belong to scripts and emoji, and are odd behind a character of ASCII alone
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb]|(?<![^\x00-\x7f])[\u200c\u200d]"
)
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\ufe00-\ufe0f\uffa0]")  # no Cf
_LOOKALIKE = str.maketrans(
    "\u2018\u2019\u02bc\u201c\u201d\u2010\u2011\u2012\u2013\u2014\u2212", "'''\"\"------"
)


def odd_texts(
    texts: Mapping[str, str], names: Mapping[str, str], unfenced: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield a flag for each oddity; `names` are the file's own names of the columns.

    In the columns `unfenced` any code fence is odd, elsewhere one without its partner.
    """
    if is_no_input_marker(texts.get("input", "")):
        yield "no-input-marker"
    for column, text in texts.items():
        name = names[column]
        fences = len(_FENCE.findall(text))
        if fences % 2 or (fences and column in unfenced):
            yield f"stray-fence: {name}"
        if _HEADER.search(text):
            yield f"header-in-field: {name}"
        if _CONTROL.search(text):
            yield f"control-character: {name}"
        if not text.isascii() and _INVISIBLE.search(text):
            yield f"invisible-character: {name}"
        if "\ufffd" in text:
            yield f"replacement-character: {name}"


def is_no_input_marker(text: str) -> bool:
    """Say whether an input only says that there is none."""
    word = " ".join(text.casefold().split())
    return bool(word) and (word in _NO_INPUT or word.strip(_AROUND) in _NO_INPUT)


def folded(text: str) -> str:
    """Return a text without case, white space, invisible characters and variants of Unicode."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        text = _UNSEEN.sub("", text.translate(_LOOKALIKE))
    if not text.isprintable():
        unseen = ("Cc", "Cf")
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in unseen)
    return " ".join(text.casefold().split())
