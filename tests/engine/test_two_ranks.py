"""Two ranks are one rank: DDP, ZeRO-2, ZeRO-3 and FSDP2 on two CPU processes, through gloo."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.engine.cpu_ranks import GlooRanksOnCpuForTests
from tests.engine.forked import ROOT
from tests.engine.rank_runs import EPOCHS, MICRO, RESUMED, STEPS, TWO_RANKS, adapter, logged
from tests.engine.small_run import STEP_ROWS, STEPS_OF_AN_EPOCH
from tools.training.resume import Launch, what_is_missing

# DDP, ZeRO-2 and FSDP2 were equal to the bit (one sum of two numbers has one order); ZeRO-3 makes
# its norm and its step from flat shards: 1e-8 in a loss, 7e-6 in a norm. Adam divides a gradient by
# its size, which magnifies rounding where it is small: 4 of 65,536 weights were further off
LOSS, NORM, WEIGHT = 1e-6, 5e-5, 1e-5
FAR_WEIGHTS = 8
FIRST_NORM = 1e-6


@pytest.fixture(params=TWO_RANKS)
def name(request: pytest.FixtureRequest, spread: Path) -> str:
    """Each spread over two ranks, its run made without an error."""
    for rank in range(2):
        if not (spread / f"{request.param}-{rank}.json").is_file():
            pytest.fail((spread / f"{request.param}-{rank}.log").read_text()[-3000:])
    return request.param


def test_the_cpu_plugin_is_for_tests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops where there is a GPU, and no shipped file names it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit, match="is for tests on CPUs"):
        GlooRanksOnCpuForTests().register({})
    folders = ("recipes", "tools", "validation", "prompt_strategies")
    files = chain(*((ROOT / folder).rglob("*") for folder in folders))
    shipped = [path for path in files if path.suffix in {".py", ".yml", ".json"}]
    assert len(shipped) > 50
    assert [path for path in shipped if "cpu_ranks" in path.read_text(encoding="utf-8")] == []


def rows(spread: Path, name: str, rank: int) -> list[list[Any]]:
    """The examples of each optimizer step of a rank."""
    return json.loads((spread / f"{name}-{rank}.json").read_text())


def test_the_ranks_share_each_step_of_one_rank_in_its_order(spread: Path, name: str) -> None:
    whole = rows(spread, "one", 0)
    assert [len(step) for step in whole] == STEPS * [STEP_ROWS]
    assert [step[:MICRO] for step in whole] == rows(spread, name, 0)
    assert [step[MICRO:] for step in whole] == rows(spread, name, 1)


def test_samples_come_from_whole_weights_alone(spread: Path, name: str) -> None:
    """A rank that wrote with its own shards would wait for the others for ever."""
    assert (spread / f"outputs/{name}/samples.jsonl").is_file() == (name in {"ddp", "zero2"})
    said = (spread / f"{name}-0.log").read_text()
    assert ("samples_per_save: no samples" in said) == (name in {"zero3", "fsdp2"})


def test_each_epoch_of_the_recipes_has_every_row_once(spread: Path) -> None:
    """With dropout, which draws otherwise on each rank, and rows grouped by length."""
    ranks = [rows(spread, "shipped", rank) for rank in range(2)]
    for epoch in range(EPOCHS):
        steps = slice(epoch * STEPS_OF_AN_EPOCH, (epoch + 1) * STEPS_OF_AN_EPOCH)
        seen = [str(row) for rank in ranks for step in rank[steps] for row in step]
        assert len(seen) == len(set(seen)) == STEP_ROWS * STEPS_OF_AN_EPOCH


def test_every_log_is_that_of_one_rank(spread: Path, name: str) -> None:
    for key, count, tolerance in (("loss", STEPS, LOSS), ("grad_norm", STEPS, NORM),
                                  ("eval_loss", 1 + EPOCHS, LOSS)):  # fmt: skip
        expected, found = logged(spread, "one", key), logged(spread, name, key)
        assert len(expected) == count
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), key
        if key == "grad_norm":
            assert found[0] == pytest.approx(expected[0], rel=FIRST_NORM)
        if key == "loss":  # equal curves would say little of runs that learn nothing
            assert expected[-1] < expected[0] / 2


def test_the_adapter_is_that_of_one_rank(spread: Path, name: str) -> None:
    expected, weights = load_file(adapter(spread, "one")), load_file(adapter(spread, name))
    last = load_file(spread / f"outputs/{name}/adapter_model.safetensors")
    assert weights.keys() == expected.keys() == last.keys()
    far = sum(int(((weights[key] - expected[key]).abs() > WEIGHT).sum()) for key in expected)
    assert far <= (FAR_WEIGHTS if name == "zero3" else 0)


@pytest.mark.parametrize(
    ("name", "stage", "weights"),
    [("zero2", 2, "single_partition_of_fp32_groups"), ("zero3", 3, "fp32_flat_groups")],
    indirect=["name"],
)
def test_each_rank_holds_half_of_the_optimizer(
    spread: Path, name: str, stage: int, weights: str
) -> None:
    """What a log says is no proof: accelerate can leave DeepSpeed out without a word."""
    folder = adapter(spread, name).with_name(f"global_step{STEPS}")
    parts = []
    for rank in range(2):
        file = folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        state = torch.load(file, weights_only=False)["optimizer_state_dict"]
        assert int(state["zero_stage"]) == stage
        parts.append(state[weights][0])
    whole = torch.cat([weight.flatten() for weight in load_file(adapter(spread, name)).values()])
    assert [len(part) for part in parts] == 2 * [len(whole) // 2]
    assert torch.equal(torch.cat(parts).sort().values, whole.sort().values)


def test_a_checkpoint_of_each_kind_is_whole(spread: Path, name: str) -> None:
    values = yaml.safe_load((spread / f"{name}.yml").read_text())
    assert what_is_missing(adapter(spread, name).parent, Launch(values, ranks=2)) is None


@pytest.mark.parametrize("name", RESUMED, indirect=True)
def test_a_run_cut_off_at_its_end_comes_to_the_same(spread: Path, name: str) -> None:
    resumed = f"{name}-resumed"
    assert f"outputs/{resumed}: continues from checkpoint-{STEPS - STEPS_OF_AN_EPOCH}" in (
        spread / f"{resumed}-0.log"
    ).read_text(errors="replace")
    assert logged(spread, resumed, "loss") == logged(spread, name, "loss")
    assert adapter(spread, resumed).read_bytes() == adapter(spread, name).read_bytes()
