"""Rows are shown exactly, token by token, and nothing in them can act on terminal or page."""

import json
import re
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from transformers import AutoTokenizer

from prompt_strategies.layout import render_completion, render_prompt
from prompt_strategies.tokenise import IGNORE_INDEX
from tests.encoded import encode_batch
from tools.errors import UserError
from tools.recipe import Recipe
from validation.inspect_rows import Piece, _cut, inspect_rows, print_rows, write_html

pytest_plugins = ["tests.real_tokenizers"]

TINY = Path(__file__).parents[3] / "models" / "tiny-base"
HOSTILE = {
    "id": "[red]x[/red]<b>\x1b[31m",
    "instruction": "Say <script>alert('1')</script> & [bold]loud[/bold] \x1b[31m \u202e </s>",
    "input": "日本語 👩\u200d👩 \ufffd",
    "code": "def say(text):\n    return {'answer': text}\n\n>>> say('x')",
    "output": "{'answer': '\ufffd'}",
}


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    """The recipe of the other tests on the embedded base, its rows for both splits."""
    recipe.values["datasets"] = recipe.values["test_datasets"]
    recipe.values["base_model"] = str(TINY)
    return recipe


def write(recipe: Recipe, *rows: dict[str, str]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path(recipe.training["path"]).write_text(text, encoding="utf-8")


def text_of(row: dict[str, str]) -> str:
    prompt = render_prompt(row["instruction"], row["input"])
    return prompt + render_completion(row["code"], row["output"])


def printed(recipe: Recipe, **options: Any) -> str:
    console = Console(file=StringIO(), width=100, **options)
    print_rows(inspect_rows(recipe), console)
    return console.file.getvalue()


def tokens_of(html: str) -> list[tuple[str, str]]:
    """The class and the text of each token on the page, as a browser reads them."""
    found = re.findall(r'<span class="([^"]*)"[^>]*>(.*?)</span>', html, re.S)
    return [(kind, unescape(text)) for kind, text in found]


def page(recipe: Recipe, folder: Path) -> str:
    write_html(inspect_rows(recipe), recipe, folder / "rows.html")
    return (folder / "rows.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------ the pieces


@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
@example(text="\ufffd")  # looks like a character that is not whole yet
@settings(max_examples=60, deadline=None)
def test_pieces_make_up_the_exact_text(tokenizer: Any, text: str) -> None:
    # a real prompt's first character is no space, of which Llama-2's decoder drops the first
    prompt, completion = f"#{text}\n", f"def{text}"
    encoded = encode_batch(tokenizer, [prompt], [completion])
    ids, labels = encoded["input_ids"][0], encoded["labels"][0]
    pieces = _cut(tokenizer, ids, labels)
    shown = [piece.text for piece in pieces if not piece.special]
    assert "".join(shown) == prompt + completion
    trained = "".join(piece.text for piece in pieces if piece.trained and not piece.special)
    assert trained.lstrip() == completion
    assert [token for piece in pieces for token in piece.ids] == ids
    assert all(shown)


def test_pieces_end_with_their_tokens_and_hold_whole_characters(tokenizer: Any) -> None:
    encoded = encode_batch(tokenizer, ["#\n"], ["def add(a):\U00012000"])  # a cuneiform sign
    *words, sign, _eos = _cut(tokenizer, encoded["input_ids"][0], encoded["labels"][0])
    assert sign.text == "\U00012000" and len(sign.ids) == 4 and sign.trained
    assert all(len(piece.ids) == 1 for piece in words)


def test_counts_are_those_of_the_labels(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    for row, source in zip(inspect_rows(recipe, count=5), rows, strict=True):
        assert row.id == source["id"]
        shown = "".join(piece.text for piece in row.pieces if not piece.special)
        assert shown == text_of(source)
        first, last = row.pieces[0], row.pieces[-1]
        assert (first.text, first.special, first.trained) == ("<s>", True, False)
        assert (last.text, last.special, last.trained) == ("</s>", True, True)
        prompt = render_prompt(source["instruction"], source["input"])
        completion = render_completion(source["code"], source["output"])
        [labels] = encode_batch(tokenizer, [prompt], [completion])["labels"]
        assert row.masked == labels.count(IGNORE_INDEX)
        assert row.masked + row.trained == len(labels)


# ------------------------------------------------------------------------------ which rows


def test_the_seed_chooses_the_rows(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    write(recipe, *({**rows[0], "id": str(number)} for number in range(100)))
    first, again, other = ([row.id for row in inspect_rows(recipe, 5, n)] for n in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 5


def test_split_chooses_the_file_and_the_line_is_the_files(
    recipe: Recipe, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    recipe.values["datasets"] = [{**recipe.validation, "path": str(tmp_path / "other.jsonl")}]
    (tmp_path / "other.jsonl").write_text(
        "\n".join(["", json.dumps(HOSTILE), "", *map(json.dumps, rows[:1])])
    )
    assert [(row.id, row.line) for row in inspect_rows(recipe)] == [
        (HOSTILE["id"], 2), ("count-0", 4)]  # fmt: skip
    assert len(inspect_rows(recipe, split="val")) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "-n 0: give 1 or more"),
        ({"split": "test"}, "choose train or val"),
        ({"base_model": "models/nothing"}, "no such model folder"),
        ({"path": "nothing.jsonl"}, "nothing.jsonl: there is no such file; run `cogex prepare "),
        ({"type": "completion"}, "`type: completion` is Axolotl's own"),
        ({"type": "prompt_strategies.nothing"}, "No module named 'prompt_strategies.nothing'"),
    ],
)
def test_bad_input_is_one_message(recipe: Recipe, options: dict[str, Any], message: str) -> None:
    for key in {"path", "type"} & options.keys():
        recipe.training[key] = options.pop(key)
    recipe.values["base_model"] = options.pop("base_model", str(TINY))
    with pytest.raises(UserError, match=re.escape(message)):
        inspect_rows(recipe, **options)


def test_row_that_cannot_be_encoded_is_named(
    recipe: Recipe, rows: list[dict[str, str]], tokenizer_folders: dict[str, Path], tmp_path: Path
) -> None:
    recipe.values["base_model"] = str(tokenizer_folders["tiktoken"])
    recipe.values["special_tokens"] = {"eos_token": "def"}
    write(recipe, rows[0])
    with pytest.raises(UserError, match=r"val.jsonl: row count-0: the tokenizer reads BOS or EOS"):
        inspect_rows(recipe)
    with pytest.raises(UserError, match=r"--html .*rows.html: there is no folder"):
        write_html([], recipe, tmp_path / "nothing" / "rows.html")


# ------------------------------------------------------------------------------ the terminal


def test_marks_tell_trained_from_masked_without_colour(recipe: Recipe) -> None:
    write(recipe, {**HOSTILE, "instruction": "Say it.", "input": "x", "output": "{'answer': 1}"})
    text = printed(recipe, color_system=None)
    assert "⟦<s>⟧### Instruction\nSay it.\n### Input\nx\n### Code⟪\ndef say(text):\n" in text
    assert text.endswith("{'answer': 1}⟦</s>⟧⟫\n")
    assert text.count("⟪") == 2  # one in the legend
    [row] = inspect_rows(recipe)
    assert row.title.endswith(f"line 1): {row.masked} tokens masked, {row.trained} trained")
    assert f"({recipe.training['path']}, line 1): " in row.title


def test_colour_tells_trained_from_masked(recipe: Recipe, rows: list[dict[str, str]]) -> None:
    write(recipe, rows[1])
    text = printed(recipe, force_terminal=True, color_system="standard")
    assert re.search(r"\x1b\[2mCount\x1b\[0m", text)  # dim
    assert re.search(r"\x1b\[1;32mdef\x1b\[0m", text)  # bold green


def test_hostile_text_is_printed_as_text(recipe: Recipe) -> None:
    write(recipe, HOSTILE)
    text = printed(recipe, color_system=None)
    assert "<script>alert('1')</script> & [bold]loud[/bold] \\x1b[31m \\u202e </s>" in text
    assert "[red]x[/red]<b>\\x1b[31m" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


# ------------------------------------------------------------------------------ the page


def test_page_shows_the_exact_text_of_each_token(
    recipe: Recipe, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    write(recipe, rows[1])
    tokens = tokens_of(page(recipe, tmp_path))
    assert "".join(text for kind, text in tokens if "special" not in kind) == text_of(rows[1])
    trained = "".join(text for kind, text in tokens if "trained" in kind)
    assert trained == "\n" + render_completion(rows[1]["code"], rows[1]["output"]) + "</s>"
    assert tokens[0] == ("masked special", "<s>")


def test_page_loads_and_runs_nothing_and_hostile_text_makes_no_tag(
    recipe: Recipe, tmp_path: Path
) -> None:
    write(recipe, HOSTILE)
    html = page(recipe, tmp_path)
    tags = re.findall(r"<(\w+)([^>]*)", html)
    assert not {"script", "b", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not re.search(r"\b(src|href|style|onclick)=", " ".join(found for _, found in tags))
    assert not [text for text in ("url(", "@import", "\x1b", "\u202e") if text in html]
    assert "http" not in html.replace("http-equiv", "")
    assert "<script>alert('1')</script>" in "".join(text for _, text in tokens_of(html))


def test_page_has_colours_for_light_and_dark(recipe: Recipe, tmp_path: Path) -> None:
    html = page(recipe, tmp_path)
    assert "color-scheme: light dark" in html
    colours = re.findall(r"#[0-9a-f]{6}", html)
    paired = re.findall(r"light-dark\(#[0-9a-f]{6}, #[0-9a-f]{6}\)", html)
    assert len(colours) == 2 * len(paired) > 0


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\r", "\x7f", "\x9b", "\u2028", "\ud800"])
def test_what_cannot_be_printed_is_escaped(character: str) -> None:
    shown = Piece(f"a{character}b\n\tc é", (1,), trained=True).shown
    assert shown == f"a{character.encode('unicode_escape').decode()}b\n\tc é"
