"""`cogex inspect`: rows as the model sees them, token by token, with trained ones marked."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader
from rich.console import Console
from rich.text import Text
from tokenizers.decoders import DecodeStream

from prompt_strategies import tokenise
from tools.errors import UserError
from tools.files import whole_file
from tools.models import load_recipe_tokenizer
from tools.prepared_rows import load_strategy, read_prepared_rows
from tools.recipe import Recipe
from validation.preflight.strategy import is_axolotls_own

TEMPLATES = Path(__file__).parent / "report" / "templates"
LEGEND = "⟪trained⟫, masked, ⟦special token⟧; what cannot be printed is shown as \\x1b"
# Rich styles; the brackets say the same without colour
TRAINED, MASKED, SPECIAL = "bold green", "dim", "reverse"

SplitName = Literal["train", "val"]


@dataclass(frozen=True)
class Piece:
    """One token, or the tokens that form one character together."""

    text: str  # exactly; a special token as written in the vocabulary
    ids: tuple[int, ...]
    trained: bool
    special: bool = False

    @property
    def shown(self) -> str:
        """The text as it may be shown: see `printable`."""
        return printable(self.text)


@dataclass(frozen=True)
class InspectedRow:
    """One row of a dataset file, cut into its tokens."""

    id: str
    path: Path
    line: int  # of the file, from 1
    pieces: tuple[Piece, ...]

    @property
    def masked(self) -> int:
        """Tokens without loss."""
        return sum(len(piece.ids) for piece in self.pieces if not piece.trained)

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(len(piece.ids) for piece in self.pieces if piece.trained)

    @property
    def title(self) -> str:
        """Where the row is, and its counts."""
        return (
            f"{printable(self.id)} ({self.path}, line {self.line}): "
            f"{self.masked:,} tokens masked, {self.trained:,} trained"
        )


def inspect_rows(
    recipe: Recipe, count: int = 5, seed: int = 42, split: SplitName = "train"
) -> list[InspectedRow]:
    """Return `count` random rows of a recipe's dataset, in the file's order; all if it has fewer.

    Raises UserError if there is no tokenizer or no data, or if a row cannot be encoded.
    """
    if count < 1:
        raise UserError(f"-n {count}: give 1 or more rows")
    if split not in ("train", "val"):
        raise UserError(f"--split {split}: is not known; choose train or val")
    entry = recipe.training if split == "train" else recipe.validation
    if is_axolotls_own(entry):
        raise UserError(
            f"{recipe.path}: `type: {entry['type']}` is Axolotl's own; only rows of a type of "
            "prompt_strategies can be shown"
        )
    tokenizer = load_recipe_tokenizer(recipe)
    strategy, path = load_strategy(recipe, entry, tokenizer), Path(entry["path"])
    rows = read_prepared_rows(path, strategy.columns)
    drawn = sorted(random.Random(seed).sample(range(len(rows)), min(count, len(rows))))
    try:
        columns = {name: [rows[index][name] for index in drawn] for name in strategy.columns}
        encoded = strategy.encode(columns).to_pydict()
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    lines = _line_numbers(path)
    return [
        InspectedRow(rows[index]["id"], path, lines[index], tuple(_cut(tokenizer, ids, labels)))
        for index, ids, labels in zip(drawn, encoded["input_ids"], encoded["labels"], strict=True)
    ]


def _line_numbers(path: Path) -> list[int]:
    """Return the line of each row; `read_prepared_rows` passes over blank lines."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [number for number, line in enumerate(lines, 1) if line.strip()]


def _cut(tokenizer: Any, ids: Sequence[int], labels: Sequence[int]) -> list[Piece]:
    """Cut a row's text at its tokens; tokens that form one character stay together."""
    special = set(tokenizer.all_special_ids)
    stream = DecodeStream()
    pieces: list[Piece] = []
    held: list[int] = []  # tokens whose character is not whole yet
    told = ""  # what the stream still holds, but a piece has

    def add(text: str, end: int) -> None:
        trained = labels[end - 1] != tokenise.IGNORE_INDEX
        pieces.append(Piece(text, tuple(held), trained, special=ids[end - 1] in special))
        held.clear()

    for end, token in enumerate(ids, 1):
        begins = end > 1 and (labels[end - 1] < 0) != (labels[end - 2] < 0)  # the trained text
        if held and (token in special or begins):  # a replacement character looks unfinished
            before = sum(len(piece.text) for piece in pieces if not piece.special)
            told = tokenise.decode(tokenizer, ids[: end - 1])[before:]
            add(told, end - 1)
        held.append(token)
        if token in special:
            add(tokenizer.convert_ids_to_tokens(token), end)
        elif shown := stream.step(tokenizer.backend_tokenizer, token):
            add(shown.removeprefix(told), end)
            told = ""
    return pieces


def printable(text: str) -> str:
    """Return the text with escapes for characters that a terminal or a page would obey or hide."""
    return "".join(
        character
        if character in "\n\t" or character.isprintable()
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_rows(rows: Sequence[InspectedRow], console: Console) -> None:
    """Print rows: trained text in ⟪⟫ and green, special tokens in ⟦⟧ and reversed."""
    console.print(LEGEND, markup=False, highlight=False)
    for row in rows:
        console.print()
        console.rule(Text(row.title), align="left")
        console.print(_marked(row), soft_wrap=True)


def _marked(row: InspectedRow) -> Text:
    text, inside = Text(), False
    for piece in row.pieces:
        if piece.trained != inside:
            text.append("⟪" if piece.trained else "⟫", TRAINED)
            inside = piece.trained
        style = TRAINED if piece.trained else MASKED
        if piece.special:
            text.append(f"⟦{piece.shown}⟧", f"{style} {SPECIAL}")
        else:
            text.append(piece.shown, style)
    return text.append("⟫", TRAINED) if inside else text


def write_html(rows: Sequence[InspectedRow], recipe: Recipe, path: Path) -> None:
    """Write rows as one page that loads nothing. Raises UserError if its folder is not there."""
    if not path.parent.is_dir():
        raise UserError(f"--html {path}: there is no folder {path.parent}; make it first")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("inspect.html.j2").render(recipe=recipe.path, rows=rows)
    with whole_file(path) as file:
        file.write(page)
