"""Loads a model, its tokenizer and its adapters, without pickles or silent downloads."""

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from safetensors import SafetensorError

from tools.errors import UserError, remedy
from tools.recipe import Recipe, is_recipe, read_recipe

ORIGIN = "checkpoint.json"  # in best/: which checkpoint it is, and how its base is quantised

Quantization = dict[str, Any]  # arguments of BitsAndBytesConfig, as JSON holds them


@contextmanager
def quiet_and_offline() -> Iterator[None]:
    """Keep libraries off the hub, and silent below the level of an error."""
    level, offline = logging.root.manager.disable, constants.HF_HUB_OFFLINE
    logging.disable(logging.WARNING)
    constants.HF_HUB_OFFLINE = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.disable(level)


# On import bitsandbytes would fetch a kernel from the hub and run it, or try for minutes.
# It, torchao and DeepSpeed also name every kernel that this machine lacks.
with quiet_and_offline():
    import torch
    import transformers
    from peft import PeftConfig, get_peft_model
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        BitsAndBytesConfig,
        GenerationConfig,
    )
    from transformers.utils import logging as transformers_logging

transformers_logging.set_verbosity_error()  # warnings that matter here are errors below

# what libraries raise on files that they cannot use
_UNUSABLE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    SafetensorError,
    ImportError,
    re.error,
)


def device() -> torch.device:
    """The first GPU, or the CPU without one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(name: str | Path, kind: str = "AutoTokenizer", **options: Any) -> Any:
    """Load the tokenizer of a local folder or hub model, by a class of transformers.

    A trained model's folder has the tokenizer that it was trained with; that of a recipe is
    `load_recipe_tokenizer`. `options` are those of `from_pretrained`. Raises UserError if none can
    be loaded.
    """
    _check_local(name)
    with explained(f"{name}: no tokenizer can be loaded from it as {kind}"):
        return getattr(transformers, kind).from_pretrained(str(name), **options)


def load_recipe_tokenizer(recipe: Recipe) -> Any:
    """Load the tokenizer that training uses: the base's, changed as the recipe's keys say.

    It follows `load_tokenizer` of axolotl/loaders/tokenizer.py for `tokenizer_type`, revision,
    `special_tokens`, `tokens` and `added_tokens_overrides`. Left out: remote code, chat templates,
    and what Axolotl does for Mistral's, Qwen-1's and GPT-NeoX's tokenizers alone.
    Raises UserError if there is no tokenizer, or if a token cannot be set.
    """
    from tokenizers import AddedToken

    tokenizer = load_unchanged_tokenizer(recipe)
    special = dict(recipe.values.get("special_tokens") or {})
    if tokenizer.pad_token is None and "Llama" in type(tokenizer).__name__:
        tokenizer.pad_token = "</s>"  # before a recipe names another EOS
    more = special.pop("additional_special_tokens", None)
    try:
        for name, text in special.items():
            if text is not None:
                tokenizer.add_special_tokens({name: AddedToken(text, normalized=False)})
        for text in recipe.values.get("tokens") or ():
            tokenizer.add_tokens([AddedToken(text, normalized=False)])
        if more:
            tokenizer.add_special_tokens({"additional_special_tokens": more})
    except (AssertionError, AttributeError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{recipe.path}: `special_tokens`: {what}; correct it there") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_unchanged_tokenizer(recipe: Recipe) -> Any:
    """Load the tokenizer that a recipe names, with `added_tokens_overrides` but no other change."""
    values = recipe.values
    name = values.get("tokenizer_config") or values.get("base_model_config") or recipe.base_model
    kind = str(values.get("tokenizer_type") or "AutoTokenizer")
    keys = {"revision": "revision_of_model", "legacy": "tokenizer_legacy"}
    options = {ours: values[key] for ours, key in keys.items() if values.get(key) is not None}
    if not (overrides := values.get("added_tokens_overrides")):
        return load_tokenizer(name, kind, **options)
    from axolotl.loaders.tokenizer import modify_tokenizer_files

    _check_local(name)
    with (
        tempfile.TemporaryDirectory() as folder,
        explained(f"{recipe.path}: `added_tokens_overrides` cannot be applied to {name}"),
    ):
        revision = str(options.get("revision", "main"))
        changed = modify_tokenizer_files(str(name), overrides, folder, revision=revision)
        return load_tokenizer(Path(changed), kind, **options)


def quantization(recipe: Recipe) -> Quantization | None:
    """How Axolotl quantises the recipe's base in training; None where it does not.

    Source: `_set_quantization_config` of axolotl/loaders/model.py. Raises UserError for 8 bits,
    which no recipe here uses.
    """
    if recipe.values.get("load_in_8bit"):
        raise UserError(
            f"{recipe.path}: `load_in_8bit` is not supported here; use `adapter: qlora` with "
            "`load_in_4bit: true`"
        )
    if recipe.adapter != "qlora" or not recipe.values.get("load_in_4bit"):
        return None
    defaults = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    }
    return defaults | (recipe.values.get("bnb_config_kwargs") or {})


def load_base(
    name: str | Path, quantized: Quantization | None = None, dtype: torch.dtype | None = None
) -> Any:
    """Load a causal model; without a `dtype` as evaluation has it, fp32 on the CPU, bf16 on a GPU.

    `quantized` (see `quantization`) holds its linear layers in 4 bits. Only safetensors weights
    are read. Raises UserError if the model cannot be loaded whole.
    """
    _check_local(name)
    if Path(name).is_dir():
        transformers_logging.disable_progress_bar()  # a hub model's download keeps its bar
    dtype = dtype or compute_dtype()
    # None would overrule what the config of a base that is stored in 4 bits says
    held = {"quantization_config": _bitsandbytes(quantized, dtype)} if quantized else {}
    with explained(f"{name}: no model can be loaded from it"):
        model, report = AutoModelForCausalLM.from_pretrained(
            str(name),
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
            **held,
        )
    if missing := sorted(report["missing_keys"]):  # transformers makes these up at random
        raise UserError(f"{name}: lacks {len(missing)} weights, as {missing[0]}; is it whole?")
    for module in model.modules():
        # bitsandbytes would compute in bf16 on CPUs that can: 6e-5 off in NLL, on those alone
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.generation_config = GenerationConfig()  # Llama-2's would add top_p = 0.9 to all sampling
    return model.to(device()).eval()


def load_shape(name: str | Path) -> Any:
    """Load a causal model's shape without its weights, to try adapters on."""
    _check_local(name)
    with explained(f"{name}: no model can be built from its config"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(name)))


def compute_dtype() -> torch.dtype:
    """The dtype of evaluation: fp32 on the CPU, bf16 on a GPU."""
    return torch.float32 if device().type == "cpu" else torch.bfloat16


def writing_dtype(recipe: Recipe | None) -> torch.dtype:
    """The dtype in which a model writes: that of evaluation, but bf16 where its recipe trains so.

    A processor that trains faster in bf16 writes faster in it, too.
    """
    return torch.bfloat16 if recipe and recipe.values.get("bf16") is True else compute_dtype()


def _bitsandbytes(quantized: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    own = {"bnb_4bit_compute_dtype": dtype, "bnb_4bit_quant_storage": torch.bfloat16}
    return BitsAndBytesConfig(**own | quantized)


def add_adapter(base: Any, folder: Path, seed: int | None = None) -> Any:
    """Put the LoRA adapter of `folder` on a base model and return the PEFT model.

    The base is changed in place. `unload()` of the PEFT model takes the adapter off, but what some
    adapters change in the base stays changed: where several take turns, use `SharedBase`. `seed` is
    the recipe's, which decides a start that is drawn at random. Raises UserError if the folder
    holds no safetensors adapter for this base.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: holds no {name}; is it a checkpoint?")
    with explained(f"{folder}: the adapter does not fit the base"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*non-meta parameter")  # tried on `load_shape`
        model = _with_start(base, read_adapter_config(folder), seed)
        try:
            keys = model.load_adapter(str(folder), model.active_adapter)
            if odd := [*keys.missing_keys, *keys.unexpected_keys]:  # PEFT would only warn
                raise ValueError(f"{len(odd)} weights are missing or not of this base, as {odd[0]}")
        except BaseException:
            model.unload()
            raise
    return model.eval()


def read_adapter_config(folder: Path) -> PeftConfig:
    """Read an adapter's config. Raises ValueError where PEFT would import what it names."""
    config = PeftConfig.from_pretrained(str(folder))
    if getattr(config, "megatron_config", None):  # PEFT would import what `megatron_core` names
        raise ValueError("its config asks for Megatron, which is not supported here")
    return config


def _with_start(base: Any, config: PeftConfig, seed: int | None) -> Any:
    """Put a new adapter on a base model, whose weights become those that the training had.

    PiSSA, OLoRA and their like start from the base's weights and take that start out of them. A
    checkpoint belongs to what is left, so the start is made again, from the same random state as
    Axolotl's (`load_lora` in axolotl/loaders/adapter.py).
    """
    start = getattr(config, "init_lora_weights", True)
    if base.device.type == "meta":  # there are no weights to start from
        config.init_lora_weights = start = False
    if not isinstance(start, str):
        return get_peft_model(base, config)
    if start.startswith("pissa_niter") and seed is None:
        raise ValueError(
            f"`peft_init_lora_weights: {start}` draws its start at random: name the recipe, whose "
            "`seed` decides it"
        )
    gpus = [torch.cuda.current_device()] if base.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(gpus):
            torch.manual_seed(int(seed or 0))
            return get_peft_model(base, config)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"its start, `peft_init_lora_weights: {start}`, cannot be made again here: {error}"
        ) from None


class SharedBase:
    """A base model on which adapters take turns; each finds it as it was loaded.

    What some adapters change in the base is still there after PEFT's `unload()`; then the base is
    loaded again.
    """

    def __init__(self, load: Callable[[], Any], seed: int | None = None) -> None:
        """Take what loads the base, and the recipe's seed (see `add_adapter`)."""
        self._load, self._seed = load, seed
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The base, as it was loaded."""
        if self._model is None:
            self._model = self._load()
        return self._model

    @contextmanager
    def with_adapter(self, folder: Path | None) -> Iterator[Any]:
        """Lend the base with the adapter of a folder, or as it is; keep no reference to it after.

        Raises UserError if the adapter does not fit.
        """
        if folder is None:
            yield self.model
            return
        base, self._model = self.model, None
        adapted = add_adapter(base, folder, self._seed)
        try:
            yield adapted
        finally:
            adapted.unload()
            if not changes_base(adapted):
                self._model = base


def changes_base(adapted: Any) -> bool:
    """Whether a PEFT model's adapter changes weights of the base, which `unload()` leaves changed.

    Those do that start from the base's weights (PiSSA, OLoRA, LoftQ), train its biases, hold whole
    modules or repeat layers.
    """
    config = adapted.peft_config[adapted.active_adapter]
    parts = ("modules_to_save", "layer_replication")
    return (
        isinstance(getattr(config, "init_lora_weights", True), str)
        or getattr(config, "bias", "none") != "none"
        or any(getattr(config, part, None) for part in parts)
    )


def load_trained(target: Path) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a recipe's `best/`, an adapter folder or a model folder, to write.

    A recipe's tokenizer is the one that it trains with, a folder's the one that was saved there.
    Raises UserError if there is nothing to load.
    """
    if is_recipe(target):
        recipe = read_recipe(target)
        folder = recipe.output_dir / "best"
        if not folder.is_dir():
            todo = remedy(folder, f"train {target}, then run `cogex select {target}`")
            raise UserError(f"{folder}: is not there; {todo}")
        return load_model(folder, recipe), load_recipe_tokenizer(recipe)
    return load_model(target), load_tokenizer(target)


def load_model(folder: Path, recipe: Recipe | None = None) -> Any:
    """Load the model of an adapter folder or a model folder, in its `writing_dtype`.

    A `best/` knows how its base is quantised; a `checkpoint-N` does not, and takes it from the
    recipe. Where the adapter changes the base, `load_base_again` of the model loads that; it is
    None elsewhere. Raises UserError if there is nothing to load.
    """
    quantized = quantization(recipe) if recipe else None
    config = folder / "adapter_config.json"
    if not config.is_file():
        return load_base(folder, dtype=writing_dtype(recipe))
    name = str(_named_in(config, "base_model_name_or_path", "names no base model"))
    if quantized is None and (folder / ORIGIN).is_file():
        quantized = _named_in(folder / ORIGIN, "quantization", "does not say how the base is held")
    seed = recipe.values.get("seed") if recipe else None
    load = partial(load_base, name, quantized, writing_dtype(recipe))
    model = add_adapter(load(), folder, seed)
    model.load_base_again = load if changes_base(model) else None
    return model


def _named_in(path: Path, key: str, problem: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path}: {problem}; is the folder whole?") from None


def _check_local(name: str | Path) -> None:
    """Refuse a missing path, which transformers would take for a hub id."""
    text = str(name)
    looks_local = isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1
    if not Path(text).is_dir() and (looks_local or text.split("/")[0] in {"models", "outputs"}):
        todo = remedy(name, "a hub model is named owner/model")
        raise UserError(f"{name}: there is no such model folder; {todo}")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what libraries raise on files that they cannot use into one UserError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, but the files may be sound
    except _UNUSABLE as error:
        # for a gated model the second line names the page to visit
        lines = str(error).strip().splitlines()[:2]
        raise UserError(f"{what}: {' '.join(' '.join(lines).split())}") from None
