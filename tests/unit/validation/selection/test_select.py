"""The checkpoint with the lowest exact perplexity wins, and best/ holds it whole."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.testing
from peft import PeftModel
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from cogex import app
from prompt_strategies.layout import render_completion, render_prompt
from tests.encoded import encode_batch
from tools.errors import UserError
from tools.models import add_adapter, load_base, load_trained, quantization
from tools.prepared_rows import encode_validation
from tools.recipe import Recipe
from validation.selection import perplexity
from validation.selection import select as module
from validation.selection.perplexity import Score
from validation.selection.score_cache import digest
from validation.selection.select import print_selection, select, validation_rows

WEIGHTS = "adapter_model.safetensors"


def plain_perplexity(recipe: Recipe, adapter: Path, rows: list[dict[str, str]], tokenizer) -> float:
    """exp(loss per token) from PEFT's own loading, a row at a time, in float64."""
    base = AutoModelForCausalLM.from_pretrained(recipe.base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).double().eval()
    total, tokens = 0.0, 0
    for row in rows:
        prompt = render_prompt(row["instruction"], row["input"])
        encoded = encode_batch(tokenizer, [prompt], [render_completion(row["code"], row["output"])])
        ids, labels = torch.tensor(encoded["input_ids"]), torch.tensor(encoded["labels"])
        with torch.inference_mode():
            loss = model(input_ids=ids, labels=labels).loss
        count = int((labels[:, 1:] != -100).sum())
        total, tokens = total + float(loss) * count, tokens + count
    return math.exp(total / tokens)


def write_state(folder: Path, step: int, loss: float) -> None:
    history = [{"step": 1, "eval_loss": 99.0}, {"step": step, "eval_loss": loss}]
    state = {"epoch": step / 10, "global_step": step, "log_history": history}
    (folder / "trainer_state.json").write_text(json.dumps(state))


@pytest.fixture
def run(recipe: Recipe, write_checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good checkpoints, made once; the logged loss falls with the step.

    The second one changes other modules than the rest, to which nothing of it may stick.
    """
    made = tmp_path_factory.getbasetemp() / "made-run"
    for step, modules in ((5, "qv"), (10, "ko"), (15, "qv")):
        names = [f"{letter}_proj" for letter in modules]
        if not (made / f"checkpoint-{step}").exists():
            write_checkpoint(made, step, loss=2 - step / 10, modules=names)
    return shutil.copytree(made, recipe.output_dir)


def break_shapes(folder: Path) -> None:
    """Give every weight one row less than the base asks for."""
    tensors = load_file(folder / WEIGHTS)
    save_file({key: value[:-1].clone() for key, value in tensors.items()}, folder / WEIGHTS)


def drop_layer(folder: Path) -> None:
    """Leave out the weights of one layer, which PEFT alone would make up."""
    tensors = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in tensors.items() if "layers.0" not in k}, folder / WEIGHTS)


def add_layer(folder: Path) -> None:
    """Add weights of a layer that the base has not, which PEFT alone would pass over."""
    tensors = load_file(folder / WEIGHTS)
    more = {k.replace("layers.0", "layers.7"): v.clone() for k, v in tensors.items()}
    save_file(more | tensors, folder / WEIGHTS)


def aim_elsewhere(folder: Path) -> None:
    """Name modules that the base has not."""
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = ["no_such_proj"]
    (folder / "adapter_config.json").write_text(json.dumps(config))


def exclude_by_a_broken_pattern(folder: Path) -> None:
    """Name the modules to leave out by what is no regular expression."""
    config = json.loads((folder / "adapter_config.json").read_text())
    config["exclude_modules"] = "("
    (folder / "adapter_config.json").write_text(json.dumps(config))


def name_a_module_to_import(folder: Path) -> None:
    """With a `megatron_config` PEFT imports whatever module `megatron_core` names."""
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"megatron_config": {"a": 1}, "megatron_core": "antigravity"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def test_adapter_names_no_module_to_import(recipe: Recipe, run: Path) -> None:
    name_a_module_to_import(run / "checkpoint-10")
    bad = select(recipe)["checkpoints"][1]
    assert bad["status"] == "corrupt" and "asks for Megatron" in bad["reason"]
    assert "antigravity" not in sys.modules


def perplexities(result: dict[str, Any]) -> dict[str, float | None]:
    return {item["name"]: item["perplexity"] for item in result["checkpoints"]}


def test_lowest_perplexity_wins(recipe: Recipe, run: Path, rows, tiny_tokenizer) -> None:
    expected = {
        name: plain_perplexity(recipe, run / name, rows, tiny_tokenizer)
        for name in ("checkpoint-5", "checkpoint-10", "checkpoint-15")
    }
    result = select(recipe)
    assert perplexities(result) == pytest.approx(expected, rel=1e-6)
    assert result["best"] == min(expected, key=lambda name: expected[name])
    assert len(set(expected.values())) == 3


def test_tie_goes_to_the_earlier(recipe: Recipe, write_checkpoint) -> None:
    for step in (100, 20, 30):
        write_checkpoint(recipe.output_dir, step, seed=1)
    result = select(recipe)
    assert len(set(perplexities(result).values())) == 1
    assert result["best"] == "checkpoint-20"


@pytest.mark.parametrize("fault", [break_shapes, drop_layer])
def test_adapter_that_does_not_fit_is_found_without_the_weights_of_the_base(
    recipe: Recipe, run: Path, fault
) -> None:
    fault(run / "checkpoint-15")
    result = select(recipe, logged=True)
    bad = result["checkpoints"][2]
    assert bad["status"] == "corrupt"
    assert bad["reason"].startswith("the adapter does not fit the base: ")
    assert result["best"] == "checkpoint-10"


@pytest.mark.parametrize(
    "fault", [break_shapes, drop_layer, add_layer, aim_elsewhere, exclude_by_a_broken_pattern]
)
def test_adapter_that_does_not_fit_is_found_and_spoils_no_other(
    recipe: Recipe, run: Path, fault
) -> None:
    before = perplexities(select(recipe))
    fault(run / "checkpoint-10")
    result = select(recipe)
    bad = result["checkpoints"][1]
    assert (bad["status"], bad["perplexity"]) == ("corrupt", None)
    assert bad["reason"].startswith("the adapter does not fit the base: ")
    assert perplexities(result) == before | {"checkpoint-10": None}
    assert result["best"] != "checkpoint-10"


def test_faulty_checkpoint_is_never_chosen(recipe: Recipe, run: Path) -> None:
    best = select(recipe)["best"]
    (run / best / WEIGHTS).unlink()
    result = select(recipe)
    assert result["best"] not in (best, None)
    assert perplexities(result)[best] is None


def test_perplexity_that_is_not_finite_is_never_chosen(recipe: Recipe, run: Path) -> None:
    best = select(recipe)["best"]
    tensors = load_file(run / best / WEIGHTS)
    save_file({key: value * 1e30 for key, value in tensors.items()}, run / best / WEIGHTS)
    result = select(recipe)
    [bad] = [item for item in result["checkpoints"] if item["name"] == best]
    assert (bad["status"], bad["reason"]) == ("corrupt", "its perplexity is not finite")
    assert result["best"] not in (best, None)


def test_content_of_selection_json(recipe: Recipe, run: Path) -> None:
    (run / "checkpoint-15" / WEIGHTS).unlink()
    result = select(recipe)
    assert json.loads((run / "selection.json").read_text()) == result
    assert list(result) == ["criterion", "best", "validation", "checkpoints", "base"]
    assert list(result["validation"]) == ["path", "sha256", "rows", "tokens", "cut"]
    keys = ["name", "step", "epoch", "nll_sum", "tokens", "perplexity"]
    for item in result["checkpoints"]:
        assert list(item) == [*keys, "logged_eval_loss", "status", "reason"]
    assert result["criterion"] == "perplexity"
    assert result["validation"]["rows"] == 5
    assert [item["status"] for item in result["checkpoints"]] == ["ok", "ok", "incomplete"]


def test_best_is_loadable_with_its_tokenizer(recipe: Recipe, run: Path, rows) -> None:
    result = select(recipe)
    model, tokenizer = load_trained(recipe.path)
    weights = load_file(run / result["best"] / WEIGHTS)
    held = dict(model.named_parameters())
    assert weights
    for name, tensor in weights.items():
        assert torch.equal(held[name.replace(".weight", ".default.weight")], tensor)
    assert tokenizer.eos_token == "<|endoftext|>"


def test_tokenizer_of_the_checkpoint_comes_along(recipe: Recipe, run: Path, tiny_tokenizer) -> None:
    for step in (5, 10, 15):
        tiny_tokenizer.save_pretrained(run / f"checkpoint-{step}")
        config = run / f"checkpoint-{step}" / "tokenizer_config.json"
        config.write_text(config.read_text().replace("<|pad|>", "<|endoftext|>"))
    select(recipe)
    _, tokenizer = load_trained(run / "best")
    assert tokenizer.pad_token == "<|endoftext|>"  # the base's is <|pad|>


def test_no_checkpoint_is_usable(recipe: Recipe, run: Path) -> None:
    for folder in run.iterdir():
        (folder / WEIGHTS).unlink()
    outcome = typer.testing.CliRunner().invoke(app, ["select", str(recipe.path)])
    assert outcome.exit_code == 1
    assert "No checkpoint is usable." in outcome.output
    assert json.loads((recipe.output_dir / "selection.json").read_text())["best"] is None
    assert not (run / "best").exists()


def test_command_ends_well(recipe: Recipe, run: Path) -> None:
    outcome = typer.testing.CliRunner().invoke(app, ["select", str(recipe.path)])
    assert outcome.exit_code == 0 and "best" in outcome.output


def test_again_is_the_same(recipe: Recipe, run: Path) -> None:
    def files() -> dict[str, bytes]:
        paths = [run / "selection.json", *(run / "best").iterdir()]
        return {path.name: path.read_bytes() for path in paths}

    select(recipe)
    first = files()
    select(recipe)
    assert files() == first
    assert not (run / "best.next").exists()


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Score]:
    """Every score that is truly made, in order."""
    made: list[Score] = []

    def score(*arguments: Any) -> Score:
        made.append(perplexity.score(*arguments))
        return made[-1]

    monkeypatch.setattr(module, "score", score)
    return made


def test_second_call_loads_no_model(
    recipe: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = select(recipe)
    monkeypatch.setattr(module, "load_base", None)
    assert select(recipe) == first


KILLED_AFTER_TWO = """
import os, signal, sys
from pathlib import Path
from tools.recipe import read_recipe
from validation.selection import select
from validation.selection.score_cache import KeptScores

put = KeptScores.put
done = []

def put_and_die(*arguments):
    put(*arguments)
    done.append(arguments)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

KeptScores.put = put_and_die
select.select(read_recipe(Path(sys.argv[1])))
"""


def test_killed_call_goes_on_where_it_stopped(
    recipe: Recipe, run: Path, scored: list[Score]
) -> None:
    """Killed with the base and one of three checkpoints scored."""
    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_TWO, str(recipe.path)])
    assert killed.returncode == -signal.SIGKILL
    assert not (run / "selection.json").exists()
    resumed = select(recipe)
    assert len(scored) == 2 + 1  # two checkpoints, and the copy in best/
    (run / "scores.json").unlink()
    shutil.rmtree(run / "best")
    anew = select(recipe)
    assert len(scored) == 3 + 1 + 3 + 1
    assert perplexities(resumed) == pytest.approx(perplexities(anew), rel=1e-6)


def change_adapter(recipe: Recipe) -> None:
    file = recipe.output_dir / "checkpoint-5" / WEIGHTS
    save_file({key: value * 1.01 for key, value in load_file(file).items()}, file)


def change_scale(recipe: Recipe) -> None:
    file = recipe.output_dir / "checkpoint-5" / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"lora_alpha": 16}))


def change_rows(recipe: Recipe) -> None:
    file = Path(recipe.validation["path"])
    file.write_text(file.read_text().replace("Count the words", "Count all words"))


def change_length(recipe: Recipe) -> None:
    recipe.values["sequence_len"] = 60


def change_loss(recipe: Recipe) -> None:
    recipe.validation["roles_to_train"] = ["output"]


def change_base(recipe: Recipe) -> None:
    os.utime(Path(recipe.base_model) / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (change_adapter, 1),
        (change_scale, 1),
        (change_rows, 4),
        (change_length, 4),
        (change_loss, 4),
        (change_base, 4),
    ],
)
def test_what_has_changed_is_scored_anew(
    recipe: Recipe, run: Path, scored: list[Score], change, anew: int
) -> None:
    """Of the base and three checkpoints; the copy in best/ is scored too."""
    select(recipe)
    change(recipe)
    shutil.rmtree(run / "best")
    scored.clear()
    result = select(recipe)
    assert len(scored) == anew + 1
    assert result["checkpoints"][0]["perplexity"] in [item.perplexity for item in scored]


def spoil_figure(text: str) -> str:
    kept = json.loads(text)
    for item in kept["scores"].values():
        item["nll_sum"] *= 0.5
    return json.dumps(kept)


def sealed(score: Any, text: str) -> str:
    """Scores that are none, under a checksum that holds."""
    scores = dict.fromkeys(json.loads(text)["scores"], score)
    return json.dumps({"sha256": digest(scores), "scores": scores})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        spoil_figure,
        partial(sealed, {"nll_sum": "x", "tokens": 1}),
        partial(sealed, {"nll_sum": -1.0, "tokens": 1}),
        partial(sealed, {"nll_sum": 1.0, "tokens": 0}),
        partial(sealed, [[]]),
    ],
)
def test_damaged_scores_are_ignored(recipe: Recipe, run: Path, scored: list[Score], spoil) -> None:
    first = select(recipe)
    scored.clear()
    (run / "scores.json").write_text(spoil((run / "scores.json").read_text()))
    assert select(recipe) == first
    assert len(scored) == 4


def test_base_is_scored_without_adapter(
    recipe: Recipe, run: Path, rows, tiny_model, tiny_tokenizer
) -> None:
    result = select(recipe)
    pairs = encode_validation(recipe, tiny_tokenizer)
    base = perplexity.score(tiny_model, [perplexity.ScoringRow.of(*pair) for pair in pairs])
    assert result["base"]["perplexity"] == pytest.approx(base.perplexity, rel=1e-6)
    assert result["base"]["tokens"] == result["validation"]["tokens"]


def test_base_that_was_drawn_at_random_has_no_score(recipe: Recipe, run: Path) -> None:
    recipe.values["reinit_weights"] = True
    assert select(recipe)["base"] == {"nll_sum": None, "tokens": None, "perplexity": None}


def test_best_that_holds_the_winner_is_left_alone(recipe: Recipe, run: Path) -> None:
    select(recipe)
    (run / "best" / "README.md").write_text("a model card")
    select(recipe)
    assert (run / "best" / "README.md").is_file()


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "checkpoint.json"])
def test_best_that_was_changed_is_written_anew(recipe: Recipe, run: Path, name: str) -> None:
    select(recipe)
    whole = (run / "best" / name).read_bytes()
    (run / "best" / name).unlink()
    select(recipe)
    assert (run / "best" / name).read_bytes() == whole


def test_best_is_back_after_a_kill_between_the_renames(recipe: Recipe, run: Path) -> None:
    select(recipe)
    (run / "best" / "README.md").write_text("a model card")
    (run / "best").rename(run / "best.old")
    select(recipe)
    assert (run / "best" / "README.md").is_file()
    assert not (run / "best.old").exists()


def test_what_a_kill_after_the_renames_left_is_removed(recipe: Recipe, run: Path) -> None:
    select(recipe)
    shutil.copytree(run / "best", run / "best.old")
    (run / "best" / "README.md").write_text("a model card")
    select(recipe)
    assert (run / "best" / "README.md").is_file()
    assert not (run / "best.old").exists()


def copy_other_weights(source: Path, target: Path) -> None:
    """A failing disk: what is written is a sound file with other numbers."""
    target.write_bytes(source.read_bytes())
    if target.name == WEIGHTS:
        save_file({key: value * 1.01 for key, value in load_file(source).items()}, target)


def copy_half(source: Path, target: Path) -> None:
    """A full disk that says nothing."""
    target.write_bytes(source.read_bytes()[:1000])


@pytest.mark.parametrize("copy", [copy_other_weights, copy_half])
def test_best_stays_where_the_copy_is_bad(
    recipe: Recipe, run: Path, copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = select(recipe)["best"]
    kept = (run / "best" / WEIGHTS).read_bytes()
    shutil.rmtree(run / best)
    monkeypatch.setattr(module.shutil, "copyfile", copy)
    with pytest.raises(UserError, match=r"best\.next: "):
        select(recipe)
    assert (run / "best" / WEIGHTS).read_bytes() == kept
    assert not (run / "best.next").exists()


def test_logged_loss_ranks_without_a_model(
    recipe: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_base", None)
    result = select(recipe, logged=True)
    assert (result["criterion"], result["best"]) == ("logged_eval_loss", "checkpoint-15")
    assert [item["logged_eval_loss"] for item in result["checkpoints"]] == [1.5, 1.0, 0.5]
    assert set(perplexities(result).values()) == {None}
    assert json.loads((run / "best/checkpoint.json").read_text()) == {
        "checkpoint": "checkpoint-15",
        "perplexity": None,
        "quantization": None,
    }


def test_rows_are_cut_at_the_longest_length(recipe: Recipe, tiny_tokenizer) -> None:
    def encoded() -> list[list[list[int]]]:
        return [
            [ids.tolist(), labels.tolist()]
            for ids, labels in encode_validation(recipe, tiny_tokenizer)
        ]

    whole = encoded()
    recipe.values["sequence_len"] = length = max(len(ids) for ids, _ in whole) - 3
    cut = encoded()
    assert cut == [[ids[:length], labels[:length]] for ids, labels in whole]
    assert cut != whole


def test_cut_rows_are_counted(recipe: Recipe, run: Path, tiny_tokenizer) -> None:
    lengths = sorted(len(ids) for ids, _ in encode_validation(recipe, tiny_tokenizer))
    assert select(recipe)["validation"]["cut"] == 0
    recipe.values["sequence_len"] = lengths[-1] - 1
    over = sum(length > recipe.sequence_len for length in lengths)
    assert select(recipe)["validation"]["cut"] == over > 0


def test_no_trained_token_within_the_length(recipe: Recipe, run: Path) -> None:
    recipe.values["sequence_len"] = 3
    with pytest.raises(UserError, match=r"val\.jsonl: no token carries loss .*; raise it"):
        select(recipe)


@pytest.mark.parametrize("kind", [None, "alpaca", "prompt_strategies", ".cogex"])
def test_strategy_that_cannot_be_used(recipe: Recipe, run: Path, kind: str | None) -> None:
    recipe.values["test_datasets"][0]["type"] = kind
    with pytest.raises(UserError, match=rf"recipe\.yml: type: {kind}: "):
        select(recipe)


@pytest.mark.parametrize("text", ["", "x"])
def test_completion_without_a_trained_token(recipe: Recipe, tiny_tokenizer, text: str) -> None:
    Path(recipe.validation["path"]).write_text(json.dumps({"text": text}))
    recipe.validation["type"] = "completion"
    recipe.values["sequence_len"] = 1
    with pytest.raises(UserError, match=r"val\.jsonl: no token carries loss"):
        validation_rows(recipe, tiny_tokenizer)


def shown(result: dict[str, Any]) -> str:
    console = Console(record=True, width=200)
    print_selection(result, console)
    return console.export_text()


@pytest.mark.parametrize("logged", [False, True])
def test_both_ranks_are_shown_where_they_differ(recipe: Recipe, run: Path, logged: bool) -> None:
    exact = [item["perplexity"] for item in select(recipe)["checkpoints"]]
    order = sorted(range(3), key=lambda index: exact[index])
    steps = (5, 10, 15)
    for rank, index in enumerate(order):  # the trainer's order is the other way round
        write_state(run / f"checkpoint-{steps[index]}", steps[index], loss=2.0 - rank / 10)
    lines = shown(select(recipe, logged=logged)).splitlines()
    for rank, index in enumerate(order):
        [line] = [x for x in lines if f"checkpoint-{steps[index]} " in x]
        cells = [cell.strip() for cell in line.split("│")]
        assert (cells[5], cells[7]) == (str(rank + 1), str(3 - rank))
    assert any("ranks them otherwise" in line for line in lines)


def test_ranks_are_not_shown_where_they_agree(recipe: Recipe, run: Path) -> None:
    exact = {item["step"]: item["perplexity"] for item in select(recipe)["checkpoints"]}
    for step, perplexity_ in exact.items():
        write_state(run / f"checkpoint-{step}", step, loss=math.log(perplexity_))
    text = shown(select(recipe))
    assert "rank" not in text


def test_ranking_by_the_log_says_so(recipe: Recipe, run: Path) -> None:
    assert "batch-averaged loss, which is not exact" in shown(select(recipe, logged=True))
    assert "not exact" not in shown(select(recipe))


def test_quantised_base_is_scored_in_4_bits(
    recipe: Recipe, run: Path, tiny_base: Path, tiny_tokenizer
) -> None:
    for step in (10, 15):
        shutil.rmtree(run / f"checkpoint-{step}")
    in_full = select(recipe)["checkpoints"][0]["perplexity"]
    recipe.values.update({"adapter": "qlora", "load_in_4bit": True})
    recipe.path.write_text(json.dumps(recipe.values))
    in_4_bits = select(recipe)["checkpoints"][0]["perplexity"]
    rows = [perplexity.ScoringRow.of(*pair) for pair in encode_validation(recipe, tiny_tokenizer)]
    plain = add_adapter(load_base(tiny_base, quantization(recipe)).dequantize(), run / "best")
    assert in_4_bits == pytest.approx(perplexity.score(plain, rows).perplexity, rel=1e-6)
    assert abs(in_4_bits / in_full - 1) > 1e-4
    for target in (recipe.path, run / "best"):
        layer = load_trained(target)[0].base_model.model.model.layers[0].mlp.up_proj
        assert type(layer).__name__ == "Linear4bit"


@pytest.fixture
def whole_run(recipe: Recipe, tiny_base: Path) -> Path:
    """Two checkpoints of a whole model, the second in shards."""
    del recipe.values["adapter"]
    for step, size in ((5, "1GB"), (10, "20KB")):
        torch.manual_seed(step)
        model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
        for weights in model.parameters():
            weights.data += 0.02 * torch.randn_like(weights)
        folder = recipe.output_dir / f"checkpoint-{step}"
        model.save_pretrained(folder, max_shard_size=size)
        write_state(folder, step, loss=1.0)
    return recipe.output_dir


def test_whole_models_are_scored(recipe: Recipe, whole_run: Path, tiny_tokenizer) -> None:
    result = select(recipe)
    rows = [perplexity.ScoringRow.of(*pair) for pair in encode_validation(recipe, tiny_tokenizer)]
    for name, value in perplexities(result).items():
        model = AutoModelForCausalLM.from_pretrained(whole_run / name, dtype=torch.float32).eval()
        assert value == pytest.approx(perplexity.score(model, rows).perplexity, rel=1e-6)
    values = perplexities(result)
    assert result["best"] == min(values, key=lambda name: values[name])
    assert result["base"]["perplexity"] not in (None, *values.values())


@pytest.mark.parametrize("step", [5, 10])
def test_best_of_whole_models_is_a_model_folder(recipe: Recipe, whole_run: Path, step: int) -> None:
    shutil.rmtree(whole_run / f"checkpoint-{15 - step}")
    select(recipe)
    recipe.path.write_text(json.dumps(recipe.values))
    model, tokenizer = load_trained(recipe.path)
    trained = AutoModelForCausalLM.from_pretrained(whole_run / f"checkpoint-{step}").state_dict()
    held = model.state_dict()
    assert all(torch.equal(held[key], trained[key]) for key in trained)
    assert tokenizer.eos_token == "<|endoftext|>"


def test_whole_model_that_does_not_fit_its_config(recipe: Recipe, whole_run: Path) -> None:
    file = whole_run / "checkpoint-5" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"intermediate_size": 65}))
    result = select(recipe)
    assert result["checkpoints"][0]["status"] == "corrupt"
    assert result["best"] == "checkpoint-10"


def test_rows_of_axolotls_completion(recipe: Recipe, tiny_tokenizer) -> None:
    """A text longer than `sequence_len` is split; each ends by EOS, and all of it is trained."""
    texts = ["def f(x):\n    return x\n" * 5, "x = 1"]
    path = Path(recipe.validation["path"])
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    recipe.validation["type"] = "completion"
    recipe.values["sequence_len"] = 16
    rows, cut = validation_rows(recipe, tiny_tokenizer)
    ids = [tiny_tokenizer(text)["input_ids"] + [tiny_tokenizer.eos_token_id] for text in texts]
    assert [i for row in rows for i in row.input_ids.tolist()] == [i for row in ids for i in row]
    assert all(torch.equal(row.input_ids, row.labels) for row in rows)
    assert max(len(row.input_ids) for row in rows) == 16 < len(ids[0])
    assert cut == 0


def test_reason_with_brackets_is_shown_as_it_is(recipe: Recipe, run: Path) -> None:
    result = select(recipe, logged=True)
    result["checkpoints"][0] |= {"status": "corrupt", "reason": "size [/x] and [bold]y"}
    assert "corrupt: size [/x] and [bold]y" in shown(result)
