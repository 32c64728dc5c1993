"""Recipes through preflight's checks of recipe and plan."""

import random
from functools import partial
from pathlib import Path

import yaml

from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutate
from tools.recipe import read_recipe
from tools.recipe_header import read_header
from validation.preflight.cards import card_of
from validation.preflight.cost import check_cost
from validation.preflight.recipe import check_recipe
from validation.verdict import in_section

AXOLOTL_KEEPS = 4  # checkpoints, where `save_total_limit` is not set


def fuzz_recipes(rng: random.Random, count: int, findings: Findings) -> None:
    """A recipe whose learning matters changed is not called sound."""
    recipes = sorted(Path("recipes").glob("*.yml"))
    values = {path: yaml.safe_load(path.read_text()) for path in recipes}
    heads = {path: path.read_text().split("\n\n", 1)[0] for path in recipes}
    for number in range(count):
        path = rng.choice(recipes)
        changed = mutate(rng, values[path])
        target = Path("recipes/fuzzed") / path.name
        target.parent.mkdir(exist_ok=True)
        body = yaml.safe_dump(changed)
        cut = number % len(body) if number % 10 == 0 else len(body)
        target.write_text(f"{heads[path]}\n\n{body[:cut]}")
        with findings.attempt("recipe", changed):
            recipe = read_recipe(target)
            header = read_header(target)
            card = card_of(header.card_gb)
            found = check_recipe(recipe, header, card=card, gpus=header.ranks)
            cost = partial(check_cost, recipe, None, card=card, gpus=header.ranks)
            found += in_section("cost", cost)
            failed = {item.name for item in found if item.verdict == "fail"}
            if failed <= {"launch line", "output folder"}:  # of the copy
                assert isinstance(recipe.values["seed"], int)
                if saves := recipe.values.get("saves_per_epoch"):  # else it hangs on data
                    kept = recipe.values.get("save_total_limit") or AXOLOTL_KEEPS
                    assert kept >= saves * recipe.values.get("num_epochs", 1)  # the engine's own
