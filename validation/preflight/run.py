"""`cogex preflight`: checks everything that can be checked before launch, in one table.

Each section is a module: recipe, strategy, access, data, tokens, model and cost. Not covered are
the GPUs themselves, their driver and the network between them, and whether the model will learn.
"""

from typing import Any

from rich.console import Console

from tools.errors import UserError
from tools.models import load_recipe_tokenizer
from tools.prepared_rows import declared_strategy
from tools.recipe import Recipe
from tools.recipe_header import read_header
from validation.preflight.access import check_access
from validation.preflight.cards import planned_card
from validation.preflight.cost import check_cost
from validation.preflight.data import check_data
from validation.preflight.model import check_model
from validation.preflight.recipe import check_recipe
from validation.preflight.strategy import check_strategy
from validation.preflight.tokenized import Tokenized, tokenize
from validation.preflight.tokens import check_tokens
from validation.verdict import VerdictRow, as_result, in_section, print_verdicts


def preflight(
    recipe: Recipe,
    *,
    gpu: str | None = None,
    gpu_memory: float | None = None,
    gpus: int | None = None,
) -> dict[str, Any]:
    """Check a recipe, its data and its model for `gpus` cards of the kind `gpu`, or of any kind.

    `gpu_memory` is in GiB. What is None is the header's. Returns `recipe`, `gpu`, `gpus`, `rows`
    (how many were encoded), `passed` and `verdicts`, each a dict of VerdictRow's fields. Raises
    UserError if the recipe cannot be read or the card is not known.
    """
    header = read_header(recipe.path)
    card = planned_card(gpu, gpu_memory, header.card_gb)
    ranks = header.ranks if gpus is None else gpus
    found = [
        *in_section("recipe", lambda: check_recipe(recipe, header, card=card, gpus=ranks)),
        *in_section("access", lambda: check_access(recipe)),
        *in_section("strategy", lambda: check_strategy(recipe)),
    ]
    tokenizer, tokenized = None, None
    if not any(row.verdict == "fail" and row.section == "access" for row in found):
        tokenizer, tokenized, trouble = _tokenize(recipe)
        found += in_section("tokens", lambda: trouble)
    found += in_section("data", lambda: check_data(recipe, tokenized))
    if tokenized is not None:
        both = tokenized
        found += in_section("tokens", lambda: check_tokens(recipe, tokenizer, both))
    lengths = None if tokenized is None else tokenized.train.lengths
    found += in_section("model", lambda: check_model(recipe))
    found += in_section("cost", lambda: check_cost(recipe, lengths, card=card, gpus=ranks))
    return {
        "recipe": str(recipe.path),
        "gpu": card.name if card else None,
        "gpus": ranks,
        "rows": len(tokenized.train.rows) + len(tokenized.val.rows) if tokenized else 0,
        **as_result(found),
    }


def _tokenize(recipe: Recipe) -> tuple[Any, Tokenized | None, list[VerdictRow]]:
    """Return the tokenizer, all rows encoded by it, and what stood in the way."""
    try:
        if declared_strategy(recipe, recipe.training) is None:
            value = f"not checked: `type: {recipe.training.get('type')}` is not of this project"
            return None, None, [VerdictRow("rows", value, "note")]
        tokenizer = load_recipe_tokenizer(recipe)
        return tokenizer, tokenize(recipe, tokenizer), []
    except UserError as error:
        return None, None, [VerdictRow("rows", "cannot be encoded", "fail", str(error))]


def print_preflight(result: dict[str, Any], console: Console) -> None:
    """Print the table, what to do about each row, and whether the run may start."""
    print_verdicts(result["verdicts"], console)
    failed = sum(row["verdict"] == "fail" for row in result["verdicts"])
    cards = f"{result['gpus']} x {result['gpu']}" if result["gpu"] else "a CPU"
    verdict = f"{failed} checks failed" if failed else "Every check held"
    console.print(f"{verdict}: {result['recipe']} on {cards}.", markup=False)
