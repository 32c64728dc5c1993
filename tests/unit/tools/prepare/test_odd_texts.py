"""What is odd in a row is flagged and counted, and what only looks odd is not."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.prepare import test_alpaca as alpaca
from tests.unit.tools.prepare.test_cogex import CODE, OUTPUT, make_row, prepare
from tools.prepare.odd_texts import folded, is_no_input_marker

PROGRAM = CODE.partition("\n\n>>> ")[0]
MARKERS = ["N/A", "n/a.", "None", "<noinput>", "<No Input>", "nan", "NaN", "-", "\u2014", "null"]
MARKERS += ["[]", "{}", '""', "(none)", "[None]", "...", " no  input\n", "false", "Not applicable."]


def test_text_that_says_there_is_no_input_is_flagged(tmp_path: Path) -> None:
    rows = [make_row(number, input=text) for number, text in enumerate(MARKERS)]
    summary, _ = prepare(tmp_path, rows)
    assert summary["flags"] == {"no-input-marker": len(MARKERS)}


def test_an_input_is_no_marker() -> None:
    for text in ("", "0", "a", "no", "none of it", "-1", "input", "No."):
        assert not is_no_input_marker(text)


def code(program: str = PROGRAM, call: str = ">>> solve('a')") -> dict[str, str]:
    return {"code_prompt": f"{program}\n\n{call}"}


FLAGGED: list[tuple[dict[str, Any], list[str]]] = [
        (code(call=">>> solve('a'"), ["call-not-python"]),
        (code(call=">>> solve(['it's'])"), ["call-not-python"]),
        (code(call=">>> solve('a')\nand that is all"), ["call-not-python"]),
        (code(call=">>> x = 5"), ["no-function-called"]),
        (code(call=">>> solve"), ["no-function-called"]),
        (code(call=">>> 'a'.upper()"), ["no-function-called"]),
        (code(call=">>> other('a')"), ["calls-another-function"]),
        (code(call=">>> print(solve('a'))"), ["calls-another-function"]),
        ({"code_prompt": ">>> solve('a')"}, ["calls-another-function"]),
        ({"code_prompt": f">>> solve('a')\n\n{PROGRAM}"}, ["call-before-program"]),
        ({"code_prompt": f"x = 1\n>>> solve('a')\n\n{PROGRAM}"}, ["call-before-program"]),
        (code(call=">>> solve('a')\n```"), ["call-not-python", "stray-fence: code_prompt"]),
        (code(f"```python\n{PROGRAM}\n```"), ["program-not-python", "stray-fence: code_prompt"]),
        ({"code_output": f"```\n{OUTPUT}\n```"}, ["output-not-dict", "stray-fence: code_output"]),
        ({"instruction": "Read:\n```\nx = 1"}, ["stray-fence: instruction"]),
        ({"input": "a\n### Output\n{}"}, ["header-in-field: input"]),
        ({"instruction": "### Response:\nx"}, ["header-in-field: instruction"]),
        ({"input": "a\x1b[2J"}, ["control-character: input"]),
        ({"input": "a\x85b"}, ["control-character: input"]),
        ({"input": "\ufeffa"}, ["invisible-character: input"]),
        ({"instruction": "so\u200brt"}, ["invisible-character: instruction"]),
        ({"input": "so\u200drt"}, ["invisible-character: input"]),
        ({"input": "a\u202eb"}, ["invisible-character: input"]),
        ({"input": "Gr\ufffd\ufffde"}, ["replacement-character: input"]),
        ({"family": ["a"]}, ["family-not-text"]),
        (code(call=">>> solve(\n    'a',\n)"), []),
        ({"instruction": "Read:\n```\nx = 1\n```"}, []),
        ({"instruction": "the header ### Input and ### Inputs"}, []),
        ({"input": "\U0001f469\u200d\U0001f4bb, \u0645\u06cc\u200c\u062e\u0648"}, []),
        ({"input": "a\tb\r\n\nc"}, []),
]  # fmt: skip


def test_an_odd_row_is_flagged_kept_and_rejected_by_strict(tmp_path: Path) -> None:
    rows = [make_row(number, **changes) for number, (changes, _) in enumerate(FLAGGED)]
    odd = [(index, flags) for index, (_, flags) in enumerate(FLAGGED) if flags]
    summary, files = prepare(tmp_path, rows)
    assert summary["kept"] == len(rows)
    assert [(row["index"], row["flags"]) for row in files["flagged.jsonl"]] == odd
    _, files = prepare(tmp_path, rows, strict=True)
    rejected = [(row["index"], row["reason"]) for row in files["rejected.jsonl"]]
    assert rejected == [(index, f"strict: {', '.join(flags)}") for index, flags in odd]


def test_repeated_and_contradictory_rows_are_flagged(tmp_path: Path) -> None:
    rows = [
        make_row(0, id="a"),
        make_row(0, id="b"),
        make_row(0, code_output="{'answer': 'b'}"),
        make_row(0, code_output="{'way': 1, 'answer': 'a'}"),  # another way to the same answer
        make_row(0, instruction="COPY text\u00a00."),  # the same task, and the same answer
        make_row(1),
    ]
    summary, files = prepare(tmp_path, rows)
    assert summary["flags"] == {"contradictory-row": 1, "duplicate-row": 1}
    assert [(row["index"], *row["flags"]) for row in files["flagged.jsonl"]] == [
        (1, "duplicate-row"),
        (2, "contradictory-row"),
    ]
    strict, _ = prepare(tmp_path, rows, strict=True)
    assert strict["kept"] == 4
    outputs = ["A wolf.", "A cow.", "A wolf."]
    plain = alpaca.prepare(tmp_path, [alpaca.make_row(0, output=text) for text in outputs])
    assert plain["flags"] == {"contradictory-row": 1, "duplicate-row": 1}


@pytest.mark.parametrize(
    "text",
    ["sort THE  list's", "\uff33ort\u200b the list\u2019s", "so\u00adrt the\u00a0list's\ufeff",
     "Sort the\n list's\0", "\u2060sort the li\u017ft's\u200f"],
)  # fmt: skip
def test_variants_of_a_text_are_one_task(tmp_path: Path, text: str) -> None:
    assert folded(text) == "sort the list's"
    rows = [make_row(input="Sort the list's"), make_row(input=text)]
    summary, _ = prepare(tmp_path, [*rows, *(make_row(i) for i in range(1, 9))], val_size=3)
    assert summary["groups"] == 9
