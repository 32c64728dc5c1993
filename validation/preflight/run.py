"""`cogex preflight`: asks everything that can be asked before a GPU hour is spent, in one table.

Each section is a module of its own. What it covers: recipe, strategy, access, data, tokens, model
and plan. What it does not: the GPUs themselves, their driver and the network between them, and
whether the model will learn.
"""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.errors import UserError
from tools.recipe import Recipe
from tools.recipe_header import read_header
from validation.preflight.access import check_access
from validation.preflight.cards import card_of, find_card
from validation.preflight.cost import check_plan
from validation.preflight.data import check_data
from validation.preflight.model import check_model
from validation.preflight.recipe import check_recipe
from validation.preflight.strategy import check_strategy
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens, load_recipe_tokenizer
from validation.preflight.verdict import COLOURS, Finding, look


def preflight(recipe: Recipe, *, gpu: str | None = None, gpus: int | None = None) -> dict[str, Any]:
    """Check a recipe, its data and its model for `gpus` cards of the kind `gpu`.

    Both are the header's where they are None. Returns `recipe`, `gpu`, `gpus`, `rows` (how many
    were encoded), `passed` and `findings`, each a dict of Finding's fields. Raises UserError if
    the recipe cannot be read or the card is not known.
    """
    header = read_header(recipe.path)
    card = card_of(header.card_gb) if gpu is None else find_card(gpu)
    ranks = header.ranks if gpus is None else gpus
    found = [
        *look("recipe", "recipe", lambda: check_recipe(recipe, header, card=card, gpus=ranks)),
        *look("access", "access", lambda: check_access(recipe)),
        *look("strategy", "strategy", lambda: check_strategy(recipe)),
    ]
    tokenizer, tokenized = None, None
    if not any(finding.verdict == "fail" and finding.section == "access" for finding in found):
        tokenizer, tokenized, trouble = _tokenize(recipe)
        found += trouble
    found += look("data", "data", lambda: check_data(recipe, header, tokenized))
    if tokenized is not None:
        both = tokenized
        found += look("tokens", "tokens", lambda: check_tokens(recipe, tokenizer, both))
    lengths = None if tokenized is None else tokenized.train.lengths
    found += look("model", "model", lambda: check_model(recipe))
    found += look(
        "plan", "plan", lambda: check_plan(recipe, header, lengths, card=card, gpus=ranks)
    )
    return {
        "recipe": str(recipe.path),
        "gpu": card.name if card else None,
        "gpus": ranks,
        "rows": len(tokenized.train.rows) + len(tokenized.val.rows) if tokenized else 0,
        "passed": all(finding.verdict != "fail" for finding in found),
        "findings": [vars(finding) for finding in found],
    }


def _tokenize(recipe: Recipe) -> tuple[Any, Tokenized | None, list[Finding]]:
    """Return the tokenizer, all rows encoded by it, and what stood in the way."""
    if not str(recipe.training.get("type")).startswith("prompt_strategies."):
        value = f"not looked at: `type: {recipe.training.get('type')}` is Axolotl's own"
        return None, None, [Finding("tokens", "rows", value, "note")]
    try:
        tokenizer = load_recipe_tokenizer(recipe)
        return tokenizer, tokenize(recipe, tokenizer), []
    except UserError as error:
        return None, None, [Finding("tokens", "rows", "cannot be encoded", "fail", str(error))]


def print_preflight(result: dict[str, Any], console: Console) -> None:
    """Print the table, then one sentence for each failure."""
    table = Table("", "check", "found", "")
    table.columns[2].overflow = "fold"
    section = None
    for finding in result["findings"]:
        first = finding["section"] if finding["section"] != section else ""
        section = finding["section"]
        colour = COLOURS[finding["verdict"]]
        table.add_row(
            first,
            escape(finding["check"]),
            escape(finding["value"]),
            f"[{colour}]{finding['verdict']}[/]",
        )
    console.print(table)
    failed = [finding for finding in result["findings"] if finding["verdict"] == "fail"]
    for finding in failed:
        console.print(
            f"{finding['section']}, {finding['check']}: {finding['value']}. {finding['todo']}",
            style="red",
            markup=False,
        )
    cards = f"{result['gpus']} x {result['gpu']}" if result["gpu"] else "a CPU"
    verdict = f"{len(failed)} checks failed" if failed else "Every check held"
    console.print(f"{verdict}: {result['recipe']} on {cards}.", markup=False)
