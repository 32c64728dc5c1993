"""The checkpoint with the lowest exact perplexity wins, and best/ holds it whole."""

import json
import math
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
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
from tools.files import NotWritten, sha256
from tools.kept import Kept
from tools.models import add_adapter, load_base, load_trained, quantization
from tools.prepared_rows import encode_validation
from tools.recipe import Recipe
from tools.results import NllFigures, Selection
from validation.selection import perplexity
from validation.selection import select as module
from validation.selection.perplexity import Score
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


@pytest.fixture
def selected(recipe: Recipe, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run after `select`, whose scores are made once."""
    made = tmp_path_factory.getbasetemp() / "selected-run"
    if not made.exists():
        select(recipe)
        shutil.copytree(run, made)
    shutil.copytree(made, run, dirs_exist_ok=True)
    select(recipe)
    return run


def break_shapes(folder: Path) -> None:
    """Give every weight one row less than the base asks for."""
    tensors = load_file(folder / WEIGHTS)
    save_file({key: value[:-1].clone() for key, value in tensors.items()}, folder / WEIGHTS)


def drop_layer(folder: Path) -> None:
    """Leave out the weights of one layer, which PEFT alone would make up."""
    tensors = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in tensors.items() if "layers.0" not in k}, folder / WEIGHTS)


def configure(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | values))


MISFITS: dict[str, Callable[[Path], None]] = {
    "other shapes": break_shapes,
    "a layer less": drop_layer,
    # PEFT would import whatever module `megatron_core` names
    "a module to import": partial(configure, megatron_config={"a": 1}, megatron_core="antigravity"),
}


def perplexities(result: Selection) -> dict[str, float | None]:
    return {item.name: item.perplexity for item in result.checkpoints}


def test_lowest_perplexity_wins(recipe: Recipe, run: Path, rows, tiny_tokenizer) -> None:
    expected = {
        name: plain_perplexity(recipe, run / name, rows, tiny_tokenizer)
        for name in ("checkpoint-5", "checkpoint-10", "checkpoint-15")
    }
    result = select(recipe)
    assert perplexities(result) == pytest.approx(expected, rel=1e-6)
    assert result.best == min(expected, key=lambda name: expected[name])
    assert len(set(expected.values())) == 3


def test_tie_goes_to_the_earlier(recipe: Recipe, write_checkpoint) -> None:
    for step in (100, 20, 30):
        write_checkpoint(recipe.output_dir, step, seed=1)
    result = select(recipe)
    assert len(set(perplexities(result).values())) == 1
    assert result.best == "checkpoint-20"


@pytest.mark.parametrize("fault", MISFITS)
def test_adapter_that_does_not_fit_is_found_and_spoils_no_other(
    recipe: Recipe, selected: Path, fault: str
) -> None:
    before = perplexities(select(recipe))
    MISFITS[fault](selected / "checkpoint-10")
    result = select(recipe)
    bad = result.checkpoints[1]
    assert bad.status == "corrupt"
    assert bad.reason.startswith("the adapter does not fit the base: ")
    assert result.best not in ("checkpoint-10", None)
    assert perplexities(result) == before | {"checkpoint-10": None}
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("factor", [None, 1e30])
def test_faulty_winner_is_not_chosen_again(
    recipe: Recipe, selected: Path, factor: float | None
) -> None:
    """Its weights are gone, or so large that its perplexity is not finite."""
    weights = selected / str(select(recipe).best) / WEIGHTS
    tensors = load_file(weights)
    weights.unlink()
    if factor:
        save_file({key: value * factor for key, value in tensors.items()}, weights)
    result = select(recipe)
    [bad] = [item for item in result.checkpoints if item.name == weights.parent.name]
    assert bad.perplexity is None and result.best not in (bad.name, None)
    reason = "its perplexity is not finite" if factor else f"{WEIGHTS} is missing"
    assert (bad.status, bad.reason) == ("corrupt" if factor else "incomplete", reason)


def test_best_is_loadable_with_its_tokenizer(recipe: Recipe, selected: Path) -> None:
    model, tokenizer = load_trained(recipe.path)
    weights = load_file(selected / str(select(recipe).best) / WEIGHTS)
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


def test_command_exits_1_only_where_no_checkpoint_is_usable(recipe: Recipe, run: Path) -> None:
    command = partial(typer.testing.CliRunner().invoke, app, ["select", str(recipe.path)])
    good = command()
    assert good.exit_code == 0 and "best" in good.output
    shutil.rmtree(run / "best")
    for folder in run.glob("checkpoint-*"):
        (folder / WEIGHTS).unlink()
    bad = command()
    assert bad.exit_code == 1 and "No checkpoint is usable." in bad.output
    assert json.loads((run / "selection.json").read_text())["best"] is None
    assert not (run / "best").exists()


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Score]:
    """Every score over all rows that is truly made, in order."""
    made: list[Score] = []
    of_folder = module._Scorer.score

    def score(*arguments: Any) -> Any:
        found = of_folder(*arguments)
        made.append(found.whole)
        return found

    monkeypatch.setattr(module._Scorer, "score", score)
    return made


def test_again_is_the_same_without_a_model(
    recipe: Recipe, selected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> dict[str, bytes]:
        paths = [selected / "selection.json", *(selected / "best").iterdir()]
        return {path.name: path.read_bytes() for path in paths}

    first = files()
    monkeypatch.setattr(module, "load_base", None)
    select(recipe)
    assert files() == first
    assert not (selected / "best.next").exists()


def test_stopped_call_goes_on_where_it_stopped(
    recipe: Recipe, run: Path, scored: list[Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped with the base and one of three checkpoints scored."""
    put = Kept.put

    def put_and_stop(*arguments: Any) -> None:
        put(*arguments)
        if len(scored) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(Kept, "put", put_and_stop)
        select(recipe)
    assert not (run / "selection.json").exists()
    resumed = select(recipe)
    assert len(scored) == 2 + 2  # two more checkpoints
    again = select(recipe)
    assert again == resumed and len(scored) == 2 + 2


def rescale(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({key: value * 1.01 for key, value in tensors.items()}, folder / WEIGHTS)


def change_rows(recipe: Recipe) -> None:
    file = Path(recipe.validation["path"])
    file.write_text(file.read_text().replace("Count the words", "Count all words"))


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (lambda recipe: rescale(recipe.output_dir / "checkpoint-5"), 1),
        (lambda recipe: configure(recipe.output_dir / "checkpoint-5", lora_alpha=16), 1),
        (change_rows, 4),
        (lambda recipe: recipe.values.update(sequence_len=60), 4),
        (lambda recipe: recipe.validation.update(roles_to_train=["output"]), 4),
        (lambda recipe: os.utime(Path(recipe.base_model) / "model.safetensors"), 4),
    ],
    ids=["adapter", "scale", "rows", "length", "loss", "base"],
)
def test_what_has_changed_is_scored_anew(
    recipe: Recipe, selected: Path, scored: list[Score], change, anew: int
) -> None:
    """Of the base and three checkpoints."""
    change(recipe)
    shutil.rmtree(selected / "best")
    result = select(recipe)
    assert len(scored) == anew
    assert result.checkpoints[0].perplexity in [item.perplexity for item in scored]


def test_damaged_scores_are_made_again(recipe: Recipe, selected: Path, scored: list[Score]) -> None:
    kept = selected / "scores.jsonl"
    first = json.loads((selected / "selection.json").read_text())
    kept.write_text(re.sub('"nll_sum": [0-9]', '"nll_sum": 9', kept.read_text()))
    assert select(recipe) == Selection.model_validate(first)
    assert len(scored) == 3


def test_base_is_scored_once_for_all_runs_with_these_rows(
    recipe: Recipe, selected: Path, scored: list[Score]
) -> None:
    shutil.copytree(selected, selected.with_name("second"))
    recipe.values["output_dir"] = str(selected.with_name("second"))
    (recipe.output_dir / "scores.jsonl").unlink()
    base = select(recipe).base
    assert len(scored) == 3
    (Path(recipe.validation["path"]).parent / "base-scores.jsonl").unlink()
    assert select(recipe).base == base
    assert len(scored) == 4


def test_two_processes_write_the_same_bytes(
    recipe: Recipe, selected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that cannot be loaded included."""
    break_shapes(selected / "checkpoint-5")
    shutil.rmtree(selected / "best")
    written = []
    for count in ("1", "2"):
        monkeypatch.setenv("COGEX_PROCESSES", count)
        (selected / "scores.jsonl").unlink(missing_ok=True)
        (Path(recipe.validation["path"]).parent / "base-scores.jsonl").unlink(missing_ok=True)
        select(recipe)
        written.append((selected / "selection.json").read_bytes())
    assert written[0] == written[1] and b"corrupt" in written[0]


def test_base_is_scored_without_adapter(
    recipe: Recipe, selected: Path, tiny_model, tiny_tokenizer
) -> None:
    result = select(recipe)
    pairs = encode_validation(recipe, tiny_tokenizer)
    base = perplexity.score(tiny_model, [perplexity.ScoringRow.of(*pair) for pair in pairs])
    assert result.base.perplexity == pytest.approx(base.perplexity, rel=1e-6)
    assert result.base.tokens == result.validation.tokens
    recipe.values["reinit_weights"] = True  # drawn at random, and gone
    assert select(recipe).base == NllFigures()


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "checkpoint.json"])
def test_best_that_was_changed_is_written_anew(recipe: Recipe, selected: Path, name: str) -> None:
    whole = (selected / "best" / name).read_bytes()
    (selected / "best" / name).unlink()
    select(recipe)
    assert (selected / "best" / name).read_bytes() == whole


@pytest.mark.parametrize("killed", ["never", "between the renames", "after the renames"])
def test_best_that_holds_the_winner_stays_whatever_a_kill_left(
    recipe: Recipe, selected: Path, killed: str
) -> None:
    best, old = selected / "best", selected / "best.old"
    if killed == "after the renames":
        shutil.copytree(best, old)
    (best / "README.md").write_text("a model card")
    if killed == "between the renames":
        best.rename(old)
    select(recipe)
    assert (best / "README.md").is_file() and not old.exists()


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
    recipe: Recipe, selected: Path, copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (selected / "best" / WEIGHTS).read_bytes()
    shutil.rmtree(selected / str(select(recipe).best))
    monkeypatch.setattr(module.shutil, "copyfile", copy)
    with pytest.raises(UserError, match=r"best\.next: "):
        select(recipe)
    assert (selected / "best" / WEIGHTS).read_bytes() == kept
    assert not (selected / "best.next").exists()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 700 bytes: the system's own error, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_was_scored_is_shown_where_the_disk_is_full(
    recipe: Recipe, run: Path, full_disk: None
) -> None:
    done = typer.testing.CliRunner().invoke(app, ["select", str(recipe.path)])
    assert "Checkpoints by perplexity" in done.output and "checkpoint-15" in done.output
    assert isinstance(done.exception, NotWritten)
    assert re.search(r"best: cannot be written: File too large; make room", str(done.exception))
    assert not (run / "best").exists() and not (run / "best.next").exists()


def test_data_that_was_prepared_again_is_told(recipe: Recipe, selected: Path) -> None:
    path = recipe.validation["path"]
    record = {"recipe": {}, "files": {path: sha256(Path(path))}, "facts": {}, "versions": {}}
    (selected / "run.json").write_text(json.dumps(record))
    assert select(recipe).data_changed == []
    change_rows(recipe)
    result = select(recipe)
    assert "val.jsonl is not the file that the run was trained with" in shown(result)
    assert "may have been trained on" in result.data_changed[0]


def test_logged_loss_ranks_without_a_model(
    recipe: Recipe, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_base", None)
    result = select(recipe, logged=True)
    assert (result.criterion, result.best) == ("logged_eval_loss", "checkpoint-15")
    assert [item.logged_eval_loss for item in result.checkpoints] == [1.5, 1.0, 0.5]
    assert set(perplexities(result).values()) == {None}
    assert json.loads((run / "best/checkpoint.json").read_text()) == {
        "checkpoint": "checkpoint-15",
        "perplexity": None,
        "quantization": None,
    }
    assert "batch-averaged loss, which is not exact" in shown(result)


def test_rows_are_cut_at_the_longest_length_and_counted(
    recipe: Recipe, selected: Path, tiny_tokenizer
) -> None:
    def encoded() -> list[list[list[int]]]:
        pairs = encode_validation(recipe, tiny_tokenizer)
        return [[ids.tolist(), labels.tolist()] for ids, labels in pairs]

    whole = encoded()
    assert select(recipe).validation.cut == 0
    recipe.values["sequence_len"] = length = max(len(ids) for ids, _ in whole) - 3
    assert encoded() == [[ids[:length], labels[:length]] for ids, labels in whole]
    result = select(recipe)
    assert result.validation.cut == sum(len(ids) > length for ids, _ in whole) > 0
    assert "longer than the recipe's `sequence_len`" in shown(result)


def test_no_trained_token_within_the_length(recipe: Recipe, run: Path) -> None:
    recipe.values["sequence_len"] = 3
    with pytest.raises(UserError, match=r"val\.jsonl: no token carries loss .*; raise it"):
        select(recipe)


def test_completion_without_a_trained_token(recipe: Recipe, tiny_tokenizer) -> None:
    Path(recipe.validation["path"]).write_text(json.dumps({"text": "x"}))
    recipe.validation["type"] = "completion"
    recipe.values["sequence_len"] = 1
    with pytest.raises(UserError, match=r"val\.jsonl: no token carries loss"):
        validation_rows(recipe, tiny_tokenizer)


def shown(result: Selection) -> str:
    console = Console(record=True, width=200)
    print_selection(result, console)
    return console.export_text()


def test_another_choice_by_the_trainers_loss_is_told(recipe: Recipe, selected: Path) -> None:
    exact = perplexities(select(recipe))
    worst, best = (by(exact, key=lambda name: exact[name] or 0.0) for by in (max, min))
    assert "best" in shown(select(recipe))
    for chosen in (worst, best):
        for name in exact:
            write_state(selected / name, int(name.split("-")[1]), loss=1.0 + (name != chosen))
        told = f"batch-averaged loss {chosen} would be the best" in shown(select(recipe))
        assert told is (chosen == worst)


def test_quantised_base_is_scored_in_4_bits(
    recipe: Recipe, run: Path, tiny_base: Path, tiny_tokenizer
) -> None:
    for step in (10, 15):
        shutil.rmtree(run / f"checkpoint-{step}")
    in_full = select(recipe).checkpoints[0].perplexity
    recipe.values.update({"adapter": "qlora", "load_in_4bit": True})
    recipe.path.write_text(json.dumps(recipe.values))
    in_4_bits = select(recipe).checkpoints[0].perplexity
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


def test_whole_models_are_scored_and_best_is_a_model_folder(
    recipe: Recipe, whole_run: Path, tiny_tokenizer
) -> None:
    recipe.path.write_text(json.dumps(recipe.values))
    rows = [perplexity.ScoringRow.of(*pair) for pair in encode_validation(recipe, tiny_tokenizer)]
    result = select(recipe)
    values = perplexities(result)
    for name, value in values.items():
        model = AutoModelForCausalLM.from_pretrained(whole_run / name, dtype=torch.float32).eval()
        assert value == pytest.approx(perplexity.score(model, rows).perplexity, rel=1e-6)
    assert result.best == min(values, key=lambda name: values[name] or 0.0)
    assert result.base.perplexity not in (None, *values.values())
    shutil.rmtree(whole_run / "checkpoint-5")
    select(recipe)
    model, tokenizer = load_trained(recipe.path)
    held = model.state_dict()
    trained = AutoModelForCausalLM.from_pretrained(whole_run / "checkpoint-10").state_dict()
    assert all(torch.equal(held[key], trained[key]) for key in trained)
    assert tokenizer.eos_token == "<|endoftext|>"


def test_whole_model_that_does_not_fit_its_config(recipe: Recipe, whole_run: Path) -> None:
    file = whole_run / "checkpoint-5" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"intermediate_size": 65}))
    result = select(recipe)
    assert result.checkpoints[0].status == "corrupt"
    assert result.best == "checkpoint-10"


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


def test_reason_with_brackets_is_shown_as_it_is(recipe: Recipe, selected: Path) -> None:
    result = select(recipe)
    odd = {"status": "corrupt", "reason": "size [/x] and [bold]y"}
    shown_ = [result.checkpoints[0].model_copy(update=odd), *result.checkpoints[1:]]
    assert "corrupt: size [/x] and [bold]y" in shown(
        result.model_copy(update={"checkpoints": shown_})
    )
