"""Exports the checkpoint that `cogex select` chose, with a model card of its own.

    outputs/NAME/export/          whole, merged by Axolotl, as plain transformers loads it
    outputs/NAME/export-adapter/  the adapter alone, for PEFT

A merged model is scored on the validation rows; it stays only if its perplexity is the adapter's.
Until all is done the files lie in `.export.next/`, and nothing of an earlier export is touched.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from rich.console import Console
from rich.filesize import decimal

from tools.errors import UserError
from tools.files import refuse_unwritable, writing
from tools.models import (
    add_adapter,
    device,
    explained,
    load_base,
    load_model,
    load_recipe_tokenizer,
    quantization,
    quiet_and_offline,
    read_adapter_config,
)
from tools.recipe import Recipe
from validation.report.facts import read_facts
from validation.report.model_card import write_card
from validation.selection.perplexity import score
from validation.selection.select import TOKENIZER_FILES, validation_rows

# By which share a merged model's perplexity may differ from its adapter's. Weights of 16 bits round
# off up to 0.2% on the tiny base; a merge that left out a head trained whole was 0.8% off.
TOLERANCE = 0.005
KEPT = ("*.safetensors", "*.index.json", "config.json", "generation_config.json",
        "LICENSE*", "NOTICE*", "USE_POLICY*", *TOKENIZER_FILES)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A folder, and the perplexities of its model and of the adapter; None: nothing was merged."""

    folder: Path
    checkpoint: str
    perplexity: float | None
    of_adapter: float | None

    @property
    def passed(self) -> bool:
        """Whether the merged model is the adapter on its base; also where nothing was merged."""
        if self.perplexity is None or self.of_adapter is None:
            return True
        return abs(self.perplexity / self.of_adapter - 1) <= TOLERANCE


def export(recipe: Recipe, *, adapter_only: bool = False) -> Exported:
    """Write the export of a run; nothing is left of one whose perplexity is not the adapter's.

    Raises UserError if nothing was selected, or if it cannot be merged.
    """
    facts = read_facts(recipe)
    if facts.best is None:
        raise UserError(f"{recipe.output_dir}/best: is not there; run `cogex select {recipe.path}`")
    if adapter_only and not recipe.adapter:
        raise UserError(f"{recipe.path}: trains a whole model: leave --adapter-only out")
    best, fresh = facts.best.folder, recipe.output_dir / ".export.next"
    target = recipe.output_dir / ("export-adapter" if adapter_only else "export")
    refuse_unwritable(recipe.output_dir)
    try:
        with writing(fresh):
            shutil.rmtree(fresh, ignore_errors=True)
            merges = recipe.adapter and not adapter_only
            model = _merged(recipe, best, fresh) if merges else fresh / "model"
            _tidy(best, model, weights=not merges)
        perplexities = _perplexities(recipe, best, model) if merges else (None, None)
        exported = Exported(target, facts.best.checkpoint, *perplexities)
        if exported.passed:
            write_card(facts, model, exported.perplexity)
            with writing(target):
                shutil.rmtree(target, ignore_errors=True)
                model.rename(target)
        return exported
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _merged(recipe: Recipe, best: Path, fresh: Path) -> Path:
    """Merge the adapter into its base; return the folder."""
    if isinstance(getattr(read_adapter_config(best), "init_lora_weights", True), str):
        # it belongs to the base less its start, as under PiSSA, of which Axolotl's merge knows
        # nothing
        model = load_model(best, recipe).merge_and_unload()
        model.save_pretrained(fresh / "merged")
        return fresh / "merged"
    quantized = quantization(recipe) or {}
    with explained(f"{best}: Axolotl cannot merge it"), quiet_and_offline():
        from axolotl.cli.utils.lora_merge import merge_lora_sharded_efficient

        merge_lora_sharded_efficient(
            base_model_path=recipe.base_model,
            lora_adapter_path=best,
            output_path=fresh / "merged",
            device=device().type,
            simulate_nf4=bool(quantized),
            nf4_double_quant=quantized.get("bnb_4bit_use_double_quant", True),
            revision=recipe.values.get("revision_of_model"),
        )
    return fresh / "merged"


def _tidy(best: Path, model: Path, *, weights: bool) -> None:
    """Give a folder what `best/` has, and take out what is the base's alone, as its model card."""
    model.mkdir(parents=True, exist_ok=True)
    for path in [path for path in model.iterdir() if not _is_kept(path)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for file in best.iterdir():
        if file.name in TOKENIZER_FILES or (weights and _is_kept(file)):
            shutil.copyfile(file, model / file.name)
    if weights and (best / "adapter_config.json").is_file():
        shutil.copyfile(best / "adapter_config.json", model / "adapter_config.json")


def _is_kept(path: Path) -> bool:
    return path.is_file() and any(path.match(pattern) for pattern in KEPT)


def _perplexities(recipe: Recipe, best: Path, merged: Path) -> tuple[float, float]:
    """Score the merged model and the adapter on the validation rows, one after the other."""
    rows, _ = validation_rows(recipe, load_recipe_tokenizer(recipe))
    of_merged = score(load_base(merged), rows).perplexity
    base = load_base(recipe.base_model, quantization(recipe))
    return of_merged, score(add_adapter(base, best, recipe.values.get("seed")), rows).perplexity


def print_exported(exported: Exported, console: Console) -> None:
    """Print the perplexities, and the folder or why there is none."""
    if exported.perplexity is not None and exported.of_adapter is not None:
        change = exported.perplexity / exported.of_adapter - 1
        told = f"perplexity {exported.perplexity:.5f} merged, {exported.of_adapter:.5f} by adapter"
        console.print(f"{told}: {change:+.4%}, at most {TOLERANCE:.1%}")
    if exported.passed:
        console.print(
            f"{exported.folder}: {exported.checkpoint}, with its model card", markup=False
        )
    else:
        told = "The merged model is not the adapter's; nothing was written. Export the adapter: "
        console.print(f"{told}`cogex export RECIPE --adapter-only`", style="red")


def files_of(folder: Path) -> Iterator[str]:
    """Yield a line for each file of an export, with its size."""
    for path in sorted(folder.iterdir()):
        yield f"  {path.name}, {decimal(path.stat().st_size)}"


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload an export to the Hugging Face hub; return its address there.

    The token is that of `hf auth login`, or HF_TOKEN. Raises UserError if the hub refuses.
    """
    try:
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="cogex export")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        said = str(error).strip().splitlines()
        todo = "`hf auth login` says who you are; the name is owner/model"
        raise UserError(f"{repository}: the hub does not take it: {said[0]}; {todo}") from None
    return f"{hub.endpoint}/{repository}"
