"""A spoilt recipe: preflight refuses it in one message, or it still trains reproducibly."""

from functools import partial
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.properties.conftest import ROOT
from tests.unit.properties.mutations import examples, mutated, no_traceback
from tools.recipe import read_recipe
from tools.recipe_header import read_header
from validation.preflight.cards import card_of
from validation.preflight.cost import check_cost
from validation.preflight.recipe import check_recipe
from validation.verdict import in_section

RECIPES = sorted((ROOT / "recipes").glob("*.yml"))
OF_A_COPY = {"launch line", "output folder"}  # checks that a copied recipe does not meet
AXOLOTL_KEEPS = 4  # checkpoints, where `save_total_limit` is not set


@examples(10)
@given(data=st.data())
def test_recipe_called_sound_has_a_seed_and_keeps_every_checkpoint(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(RECIPES))
    text = source.read_text()
    body = yaml.safe_dump(data.draw(mutated(yaml.safe_load(text))))
    if data.draw(st.integers(0, 9)) == 0:
        body = body[: data.draw(st.integers(0, len(body)))]
    path = Path(source.name)
    path.write_text(f"{text.split('\n\n', 1)[0]}\n\n{body}")
    with no_traceback():
        recipe, header = read_recipe(path), read_header(path)
        card = card_of(header.card_gb)
        found = check_recipe(recipe, header, card=card, gpus=header.ranks)
        cost = partial(check_cost, recipe, None, card=card, gpus=header.ranks)
        found += in_section("cost", cost)
        if {item.name for item in found if item.verdict == "fail"} <= OF_A_COPY:
            assert isinstance(recipe.values["seed"], int)
            if saves := recipe.values.get("saves_per_epoch"):
                kept = recipe.values.get("save_total_limit") or AXOLOTL_KEEPS
                assert kept >= saves * recipe.values.get("num_epochs", 1)
