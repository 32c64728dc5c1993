"""Preparing the dataset: nothing is lost, nothing leaks into validation, bad files are named."""

import hashlib
import itertools
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from prompt_strategies.layout import LAYOUT_VERSION
from tools.errors import UserError
from tools.prepare.cogex import prepare_cogex
from tools.prepare.command import prepare as prepare_command
from tools.prepare.odd_texts import folded
from tools.prepare.pipeline import OUTPUTS, print_summary

FIELDS = ("id", "instruction", "input", "code", "output")
CODE = "def solve(text):\n    return {'answer': text}\n\n>>> solve('a')"
OUTPUT = "{'answer': 'a'}"


def make_row(number: int = 0, /, **changes: Any) -> dict[str, Any]:
    """A sound row of the published file; a change to `...` leaves the field out."""
    row = {
        "instruction": f"Copy text {number}.",
        "input": "a",
        "code_prompt": CODE,
        "code_output": OUTPUT,
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def write_source(folder: Path, rows: Any) -> Path:
    source = folder / "data.json"
    source.write_text(json.dumps(rows), encoding="utf-8")
    return source


def read_lines(path: Path) -> list[Any]:
    """Read JSON lines strictly: UTF-8, and no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line, parse_constant=refuse) for line in lines]


def prepare(folder: Path, rows: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare `rows` with an empty validation set unless told; return the files' content."""
    out = folder / "out"
    summary = prepare_cogex(write_source(folder, rows), out, **({"val_size": 0} | options))
    files: dict[str, Any] = {name: read_lines(out / name) for name in OUTPUTS[:-1]}
    return summary, files | {"manifest.json": json.loads((out / "manifest.json").read_text())}


def prepare_one(folder: Path, row: Any, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare `row` behind a sound one, so that something is always kept."""
    return prepare(folder, [make_row(100), row], **options)


# --- what becomes of a row


def test_a_row_keeps_its_text(tmp_path: Path) -> None:
    row = make_row(instruction="  Größe 🙂\u2028 of\ta ", input=" x \r y\n", id="i-7")
    _, files = prepare_one(tmp_path, row)
    assert files["train.jsonl"][1] == {
        "id": "i-7",
        "instruction": "  Größe 🙂\u2028 of\ta ",
        "input": " x \r y\n",
        "code": CODE,
        "output": OUTPUT,
    }
    assert "Größe 🙂" in (tmp_path / "out/train.jsonl").read_text(encoding="utf-8")


def test_every_spelling_of_the_fields_is_read(tmp_path: Path) -> None:
    spellings = itertools.product(("code_prompt", "code"), ("code_output", "code output", "output"))
    rows = [{"instruction": "i", code: CODE, output: OUTPUT} for code, output in spellings]
    rows.append(make_row(output="The answer is a."))  # Alpaca's, beside code_output
    _, files = prepare(tmp_path, rows)
    found = [(row["input"], row["code"], row["output"]) for row in files["train.jsonl"]]
    assert found == [("", CODE, OUTPUT)] * 6 + [("a", CODE, OUTPUT)]


def test_a_value_becomes_a_python_literal(tmp_path: Path) -> None:
    literals = {
        "": (..., None, "", False, [], {}, " \n\t", [None, ""], {"a": ""}),
        "[1, 'a', None]": ([1, "a", None],),
        "{'b': True, 'a': [False]}": ({"b": True, "a": [False]},),
        **{repr(value): (value,) for value in (7, 0, 1.5, True, [0], [False], [[]])},
    }
    pairs = [(value, text) for text, values in literals.items() for value in values]
    rows = [make_row(i, input=value) for i, (value, _) in enumerate(pairs)]
    rows.append(make_row(99, code_output={"answer": [True, None]}))
    summary, files = prepare(tmp_path, rows)
    assert [row["input"] for row in files["train.jsonl"]] == [*(text for _, text in pairs), "a"]
    assert files["train.jsonl"][-1]["output"] == "{'answer': [True, None]}"
    assert summary["changes"] == {
        "list made a Python literal: input": 4,
        "number made a Python literal: input": 3,
        "list made empty: input": 2,
        "object made empty: input": 2,
        "null made empty: input": 1,
        "object made a Python literal: code_output": 1,
        "object made a Python literal: input": 1,
        "true or false made a Python literal: input": 1,
        "true or false made empty: input": 1,
        "white space made empty: input": 1,
    }
    assert summary["normalised"] == 17


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"code_prompt": f"\n  \n{CODE}\n\t\n"}, "code", CODE),
        ({"code_prompt": "    x = 1\n\n>>> f(x)  "}, "code", "    x = 1\n\n>>> f(x)  "),
        ({"code_prompt": CODE.replace("\n", "\r\n")}, "code", CODE),
        ({"code_output": f"\n output={OUTPUT}\n\n"}, "output", OUTPUT),
        ({"code_output": f"output == {OUTPUT}"}, "output", f"output == {OUTPUT}"),
        ({"code_output": "{'answer': 'output = 1'}"}, "output", "{'answer': 'output = 1'}"),
    ],
)
def test_only_line_ends_blank_ends_and_output_equals_change(
    tmp_path: Path, changes: dict[str, str], field: str, text: str
) -> None:
    summary, files = prepare_one(tmp_path, make_row(**changes))
    assert files["train.jsonl"][1][field] == text
    assert summary["normalised"] == int(text not in changes.values())


def test_ids_are_the_rows_own_or_its_place_and_unique(tmp_path: Path) -> None:
    ids = ["a", 7, None, True, "", [1], ..., "a", "a-9", "a"]
    summary, files = prepare(tmp_path, [make_row(i, id=own) for i, own in enumerate(ids)])
    names = [row["id"] for row in files["train.jsonl"]]
    assert names == ["a", "7", *(f"row-{i}" for i in range(2, 7)), "a-7", "a-9", "a-9-9"]
    assert summary["flags"] == {"duplicate-id": 2}
    assert files["flagged.jsonl"][0] == {"index": 7, "id": "a-7", "flags": ["duplicate-id"]}


REJECTED = [
    ("text", "not an object"),
    ([make_row()], "not an object"),
    (make_row(instruction=None), "missing: instruction"),
    (make_row(instruction=" \n"), "empty: instruction"),
    (make_row(instruction=["a"]), "wrong type: instruction"),
    (make_row(code_prompt="\n\n"), "empty: code_prompt"),
    (make_row(code_prompt=5), "wrong type: code_prompt"),
    (make_row(code_prompt="x = '>>> f()'"), "no call: code_prompt"),
    (make_row(code_prompt="x = 1\n>>> "), "no call: code_prompt"),
    (make_row(code_output=...), "missing: code_output"),
    (make_row(code_output="output = "), "empty: code_output"),
    (make_row(code_output=[1]), "wrong type: code_output"),
    (make_row(code_prompt=..., code=5), "wrong type: code"),
    (make_row(code_output=..., **{"code output": " "}), "empty: code output"),
    (make_row(input=[math.nan]), "unusable number: input"),
    (make_row(code_output={"answer": math.inf}), "unusable number: code_output"),
    (make_row(input="\ud800"), "not UTF-8: input"),
    (make_row(code_output="{'answer': '\udfff'}"), "not UTF-8: code_output"),
    (make_row(id="\ud800"), "not UTF-8: id"),
]


def test_an_unusable_row_is_rejected_with_its_reason_and_shown(tmp_path: Path) -> None:
    summary, files = prepare(tmp_path, [make_row(), *(row for row, _ in REJECTED)])
    assert (summary["kept"], summary["rejected"]) == (1, len(REJECTED))
    found = [(line["index"], line["reason"]) for line in files["rejected.jsonl"]]
    assert found == [(index, reason) for index, (_, reason) in enumerate(REJECTED, 1)]
    for (row, reason), line in zip(REJECTED, files["rejected.jsonl"], strict=True):
        json_holds_it = not reason.startswith(("unusable number", "not UTF-8"))
        assert line["row"] == (row if json_holds_it else ascii(row))


@pytest.mark.parametrize("depth", [600, 2_000, 9_000, 200_000])  # Pythons have different limits
def test_deep_nesting_and_a_doubled_key_are_rejected_or_named(tmp_path: Path, depth: int) -> None:
    deep = json.dumps(make_row(input="DEEP")).replace('"DEEP"', "[" * depth + "]" * depth)
    source = tmp_path / "data.json"
    source.write_text(f'[{json.dumps(make_row())}, {deep}, {{"instruction": 1, "instruction": 2}}]')
    try:
        reasons = prepare_cogex(source, tmp_path / "out", val_size=0)["reasons"]
        assert reasons.pop("duplicate key") == 1
        assert reasons in ({}, {"nested too deep: input": 1})
    except UserError as error:
        assert "nests too deep" in str(error)


FLAGGED: list[tuple[dict[str, str], list[str]]] = [
    ({"code_output": "answer: a"}, ["output-not-dict"]),
    ({"code_output": "['answer']"}, ["output-not-dict"]),
    ({"code_output": "{'answer': f(1)}"}, ["output-not-dict"]),
    ({"code_output": "{[]: 'answer'}"}, ["output-not-dict"]),
    ({"code_output": "{'answer': \0}"}, ["output-not-dict", "control-character: code_output"]),
    ({"code_output": "{'answer': " + "9" * 5000 + "}"}, ["output-not-dict"]),
    # the parser's own stack: MemoryError, where a shorter one is RecursionError
    ({"code_output": "-" * 100_000 + "1"}, ["output-not-dict", "maybe-too-long"]),
    ({"code_output": "1" + "+1" * 2900}, ["output-not-dict"]),
    ({"code_output": "{'answer': 0x" + "f" * 4000 + "}"}, []),
    ({"code_output": "{}"}, ["no-answer"]),
    ({"code_prompt": "def f(:\n\n>>> f()"}, ["program-not-python"]),
    ({"code_prompt": "x = " + "-" * 100_000 + "1\n>>> f()"},
     ["program-not-python", "maybe-too-long"]),
    ({"code_prompt": ">>> f(1)\n>>> f(2)"}, ["program-not-python"]),
    ({"input": "a" * 6200, "code_output": "{"}, ["output-not-dict", "maybe-too-long"]),
    ({"code_prompt": "def f():\n  x = '\\d'\n  if x is 'a': pass\n>>> f()"}, []),
    ({"input": "a" * 5900}, []),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_an_odd_row_is_flagged_and_kept(tmp_path: Path) -> None:
    rows = [make_row(number, **changes) for number, (changes, _) in enumerate(FLAGGED)]
    summary, files = prepare(tmp_path, rows)
    assert summary["kept"] == len(FLAGGED)
    assert files["flagged.jsonl"] == [
        {"index": number, "id": f"row-{number}", "flags": flags}
        for number, (_, flags) in enumerate(FLAGGED)
        if flags
    ]


def test_strict_rejects_flagged_rows(tmp_path: Path) -> None:
    rows = [make_row(0, id="a"), make_row(1, id="a"), make_row(2, code_output="{}", id="b")]
    summary, files = prepare(tmp_path, [*rows, make_row(3, id="b")], strict=True)
    assert summary["reasons"] == {"strict: duplicate-id": 1, "strict: no-answer": 1}
    assert (summary["flagged"], summary["flags"], files["flagged.jsonl"]) == (0, {}, [])
    assert [row["id"] for row in files["train.jsonl"]] == ["a", "b"]
    assert files["manifest.json"]["strict"] is True


def save_tokenizer(folder: Path, **special: str) -> str:
    """Save a tokenizer that makes one token of every word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=words, unk_token="<unk>", **special).save_pretrained(folder)
    return str(folder)


def test_with_a_tokenizer_the_length_is_counted(tmp_path: Path) -> None:
    name = save_tokenizer(tmp_path / "tokenizer", eos_token="</s>")
    rows = [make_row(i, input="a " * count) for i, count in enumerate([10, 11])]
    rows.append(make_row(2, input="</s>"))  # this tokenizer reads it as EOS
    around = f"### Instruction Copy text 0. ### Input ### Code {CODE} ### Output {OUTPUT} </s>"
    limit = len(around.split()) + 10
    _, files = prepare(tmp_path, rows, sequence_len=limit, tokenizer=name)
    assert [row["flags"] for row in files["flagged.jsonl"]] == [["too-long"], ["not-tokenisable"]]
    assert [row["index"] for row in files["flagged.jsonl"]] == [1, 2]


def test_a_tokenizer_without_eos_is_named(tmp_path: Path) -> None:
    name = save_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(UserError, match="tokenizer cannot be used: the tokenizer has no EOS"):
        prepare(tmp_path, [make_row()], tokenizer=name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_size": 3}, r"--val-size 3 leaves nothing .* 3 usable rows \(1 rejected: 1 not an"),
        ({"val_size": 10**30}, "leaves nothing to train on"),
        ({"tokenizer": "/no/such/folder"}, "/no/such/folder: "),
    ],
)
def test_a_bad_setting_gets_one_message_and_nothing_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, [*(make_row(i) for i in range(3)), 5], **options)
    assert not (tmp_path / "out").exists()


def test_nothing_of_a_persons_is_overwritten(tmp_path: Path) -> None:
    prepare(tmp_path, [make_row(i) for i in range(3)])
    (tmp_path / "file").write_text("mine")
    for source, out, says in (
        ("data.json", "file", "file is a file"),
        ("data.json", "file/out", "cannot be written"),
        ("out/train.jsonl", "out", "would be overwritten"),
    ):
        with pytest.raises(UserError, match=says):
            prepare_cogex(tmp_path / source, tmp_path / out, val_size=0)
    assert (tmp_path / "file").read_text() == "mine"


# --- the split


def test_validation_has_exactly_the_size_asked_for(tmp_path: Path) -> None:
    summary, files = prepare(tmp_path, [make_row(i) for i in range(50)], val_size=13)
    assert (summary["train"], summary["val"], summary["groups"]) == (37, 13, 50)
    assert (len(files["train.jsonl"]), len(files["val.jsonl"])) == (37, 13)
    for name in ("train.jsonl", "val.jsonl"):  # in the order of the source
        places = [int(row["id"].removeprefix("row-")) for row in files[name]]
        assert places == sorted(places)


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    rows = [make_row(i // 2, input=i % 3, code_output="{}") for i in range(40)] + [None]
    source = write_source(tmp_path, rows)
    for name, seed in (("a", 7), ("b", 7), ("c", 8), ("d", -7)):
        prepare_cogex(source, tmp_path / name, val_size=9, seed=seed)
    for name in OUTPUTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    validation = [(tmp_path / name / "val.jsonl").read_bytes() for name in ("a", "c", "d")]
    assert len(set(validation)) == 3


def test_the_split_depends_on_content_and_not_on_row_order(tmp_path: Path) -> None:
    rows = [make_row(i // 2, id=f"a{i}") for i in range(40)]
    splits = []
    for order in (rows, [None, *rows[::-1]]):
        _, files = prepare(tmp_path, order, val_size=8)
        splits.append({row["id"] for row in files["val.jsonl"]})
    assert splits[0] == splits[1]


def test_the_default_split_of_given_rows_is_the_same_in_every_version(tmp_path: Path) -> None:
    _, files = prepare(tmp_path, [make_row(i) for i in range(40)], val_size=5)
    ids = [row["id"] for row in files["val.jsonl"]]
    assert ids == ["row-7", "row-23", "row-26", "row-30", "row-33"]


# --- the files


def test_the_manifest_tells_what_was_done(tmp_path: Path) -> None:
    rows = [make_row(i) for i in range(30)] + [5, make_row(30, code_output="{}")]
    _, files = prepare(tmp_path, rows, val_size=4, seed=3)
    out, source = tmp_path / "out", tmp_path / "data.json"
    assert files["manifest.json"] == {
        "source": {
            "path": str(source),
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "rows": 32,
        },
        "kept": 31,
        "rejected": 1,
        "flagged": 1,
        "normalised": 0,
        "train": 27,
        "val": 4,
        "val_size": 4,
        "groups": 31,
        "reasons": {"not an object": 1},
        "flags": {"no-answer": 1},
        "changes": {},
        "left_out": {},
        "traits": {"are complete": 31},
        "seed": 3,
        "strict": False,
        "sequence_len": 2048,
        "tokenizer": None,
        "format": "cogex",
        "layout_version": LAYOUT_VERSION,
        "sha256": {
            name: hashlib.sha256((out / name).read_bytes()).hexdigest()
            for name in ("train.jsonl", "val.jsonl")
        },
    }


def test_preparing_again_removes_manifest_and_cache_first(tmp_path: Path) -> None:
    prepare(tmp_path, [make_row(i) for i in range(3)])
    cached = tmp_path / "out" / "prepared" / "hash" / "data.arrow"
    cached.parent.mkdir(parents=True)
    cached.touch()
    (tmp_path / "out/flagged.jsonl").unlink()
    (tmp_path / "out/flagged.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        prepare(tmp_path, [make_row(i) for i in range(4)])
    assert not (tmp_path / "out/manifest.json").exists()
    assert not cached.exists()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ("--max-rejected 0.25", 0),
        ("--max-rejected 0.24", 1),
        ("", 1),
        ("--val-size 0", 2),
        ("--max-rejected 1.01", 2),
    ],
)
def test_too_many_rejected_rows_exit_1_and_all_is_written(
    tmp_path: Path, options: str, status: int
) -> None:
    source = write_source(tmp_path, [make_row(0), make_row(1), make_row(2), 5])
    call = f"cogex --input {source} --out {tmp_path / 'out'} --val-size 1 {options}"
    assert CliRunner().invoke(prepare_command, call.split()).exit_code == status
    assert (tmp_path / "out/manifest.json").exists() is (status < 2)


def test_the_summary_shows_every_count_and_what_was_not_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(0)] * 3 + [make_row(1, input="a" * 6200, text="")] * 3 + [5]
    summary, _ = prepare(tmp_path, rows, val_size=4)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.yml").write_text("datasets:\n  - path: data/mine/train.jsonl\n")
    texts = []
    for name in ("data/mine", "data/other"):
        print_summary(summary, Path(name), 0.05, console := Console(record=True, width=100))
        texts.append(" ".join(console.export_text().split()))
    for part in (
        "not an object │ 1",
        "maybe-too-long │ 3",
        "field left out: text │ 3",
        "programs that are complete │ 6",
        "is an estimate (3 characters a token)",
        "Validation has 3 rows, not 4",
        "14.3% of the rows were rejected, more than the 5.0% that --max-rejected allows",
        "Flagged rows, which are kept: data/mine/flagged.jsonl. --strict rejects them",
    ):
        assert part in texts[0]
    assert texts[0].endswith("Next: cogex preflight recipes/mine.yml")
    assert "Next: cogex new NAME --base BASE --data data/other" in texts[1]


def test_programs_are_counted_by_what_they_leave_open(tmp_path: Path) -> None:
    helper = CODE.replace("text}", "look_up(text)}")
    rows = [
        make_row(0),
        make_row(1, code_prompt=helper, code_output="{'way': 1, 'answer': 'a'}"),
        make_row(2, code_prompt=helper),
        make_row(3, code_prompt=f"import os\n{CODE}"),
        make_row(4, code_prompt="def f(:\n\n>>> f()"),
    ]
    summary, files = prepare(tmp_path, rows)
    assert (
        summary["traits"]
        == files["manifest.json"]["traits"]
        == {
            "leave helpers undefined": 2,
            "are complete": 1,
            "are not Python, or their call is not": 1,
            "have intermediate values in their output": 1,
            "import or call what is not allowed in the sandbox": 1,
        }
    )


def test_a_family_of_ones_own_is_kept_in_every_row_or_in_none(tmp_path: Path) -> None:
    _, files = prepare(
        tmp_path, [make_row(i, family=own) for i, own in enumerate(["a", 7, ..., ""])]
    )
    assert [row["family"] for row in files["train.jsonl"]] == ["a", "7", "", ""]
    _, files = prepare(tmp_path, [make_row(i, family=None) for i in range(2)])
    assert all("family" not in row for row in files["train.jsonl"])


# --- hostile rows

HOSTILE_TEXT = st.one_of(
    st.text(st.characters(), max_size=30),  # lone surrogates too
    st.sampled_from(
        [CODE, OUTPUT, ">>> f()", ">>> ", "\0", "{", "(" * 300, "### Output\n", "\r\n"]
    ),
)
HOSTILE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), HOSTILE_TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE_TEXT, inner, max_size=3),
    max_leaves=5,
)
ROW_KEYS = ["id", "instruction", "input", "code_prompt", "code", "code_output", "output"]
HOSTILE_ROWS = st.lists(
    st.one_of(
        HOSTILE,
        st.dictionaries(st.sampled_from(ROW_KEYS), HOSTILE).map(lambda row: make_row(**row)),
        st.dictionaries(st.sampled_from(ROW_KEYS), HOSTILE_TEXT).map(lambda row: make_row(**row)),
    ),
    max_size=6,
).map(lambda rows: [make_row(0), make_row(1), *rows])


@given(rows=HOSTILE_ROWS, lines=st.booleans(), strict=st.booleans())
@settings(max_examples=50, deadline=None)
def test_hostile_rows_are_all_accounted_for(rows: list[Any], lines: bool, strict: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "data.json"), Path(folder, "out")
        text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows)
        source.write_text(text)
        summary = prepare_cogex(source, out, val_size=1, strict=strict)
        files = {name: read_lines(out / name) for name in OUTPUTS[:-1]}
    train, val = files["train.jsonl"], files["val.jsonl"]
    assert summary["kept"] + summary["rejected"] == summary["source"]["rows"] == len(rows)
    assert len(train) + len(val) == summary["kept"]
    assert len(files["rejected.jsonl"]) == summary["rejected"] == sum(summary["reasons"].values())
    assert len({row["id"] for row in train + val}) == summary["kept"]
    for row in train + val:
        assert tuple(row) == FIELDS
        assert all(isinstance(text, str) for text in row.values())
    groups = [
        {tuple(folded(row[f]) for f in ("instruction", "input")) for row in part}
        for part in (train, val)
    ]
    assert not groups[0] & groups[1]
