"""One recipe keeps its batch on any number of ranks, or says which micro batch would."""

from pathlib import Path
from typing import Any

import pytest
import torch
from axolotl.integrations.base import PluginManager

from tools.errors import UserError
from tools.recipe import Recipe
from tools.training import resume
from tools.training.batch import accumulation, on_ranks

ROOT = Path(__file__).parents[4]
PLUGIN = "tools.training.plugin.CogexPlugin"


def recipe(**values: Any) -> Recipe:
    return Recipe(Path("r.yml"), {"examples_per_step": 32, "micro_batch_size": 4} | values)


@pytest.mark.parametrize(("ranks", "steps"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_the_batch_is_kept_on_any_number_of_ranks(ranks: int, steps: int) -> None:
    assert accumulation(recipe(), ranks) == steps
    assert on_ranks(recipe(), ranks).values["gradient_accumulation_steps"] == steps
    assert accumulation(recipe(gradient_accumulation_steps=steps), ranks) == steps
    packed = recipe(sample_packing=True, packs_per_step=64)
    assert accumulation(packed, ranks) == 2 * steps


@pytest.mark.parametrize(
    ("values", "ranks", "message"),
    [
        ({"micro_batch_size": 3}, 2, "on 2 ranks is 16 for each, .* set micro_batch_size to 2$"),
        ({}, 16, "on 16 ranks is 2 for each, .*`micro_batch_size: 4`; set micro_batch_size to 2$"),
        ({"examples_per_step": 12, "micro_batch_size": 5}, 1, "set micro_batch_size to 4$"),
        ({}, 3, "3 ranks cannot share `examples_per_step: 32` evenly; launch a number of ranks"),
        ({"gradient_accumulation_steps": 8}, 2,
         "`gradient_accumulation_steps: 8` contradicts `examples_per_step: 32`, which needs 4"),
        ({"examples_per_step": None}, 1, "the key `examples_per_step` is missing; add it"),
        ({"sample_packing": True}, 1, "the key `packs_per_step` is missing; add it"),
        ({"examples_per_step": 0}, 1, "`examples_per_step: 0` must be a whole number above 0"),
        ({"examples_per_step": True}, 1, "`examples_per_step: True` must be a whole number"),
        ({"micro_batch_size": "4"}, 1, "`micro_batch_size: 4` must be a whole number"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_kept_says_what_would(
    values: dict[str, Any], ranks: int, message: str
) -> None:
    with pytest.raises(UserError, match=rf"^r\.yml: .*{message}"):
        accumulation(recipe(**values), ranks)


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads the tiny recipe as `axolotl.cli.train` does, on a number of ranks."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(PluginManager, "_instance", None)  # other tests get their own
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda *_: True)  # asked of each rank

    def load(ranks: int, local_rank: int = 0, **options: str) -> Any:
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))
        from axolotl.cli.config import load_cfg  # takes seconds to import

        return load_cfg("recipes/cogex-tiny.yml", output_dir=str(tmp_path), **options)

    return load


def test_axolotl_trains_with_the_accumulation_of_the_plugin(launched: Any) -> None:
    for ranks in (1, 2, 4, 8):
        cfg = launched(ranks, micro_batch_size="4")
        assert cfg.gradient_accumulation_steps == 8 // ranks
        assert cfg.batch_size == 32  # by which Axolotl counts the steps of the run
        assert (cfg.examples_per_step, cfg.validation_rows) == (32, 144)
        assert "gradient_accumulation_steps" not in PluginManager().plugins[PLUGIN].launch.values


@pytest.mark.parametrize("local_rank", [0, 1])
def test_a_batch_that_cannot_be_kept_ends_the_launch_with_one_message(
    launched: Any, local_rank: int, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    waited: list[float] = []
    monkeypatch.setattr(resume.time, "sleep", waited.append)
    with pytest.raises(SystemExit) as stop:
        launched(2, local_rank, micro_batch_size="3")
    assert stop.value.code == 2
    assert "recipes/cogex-tiny.yml: `examples_per_step: 32` on 2 ranks" in capfd.readouterr().err
    assert waited == [resume.SECONDS_TO_SPEAK] * local_rank  # then the launcher has ended it
