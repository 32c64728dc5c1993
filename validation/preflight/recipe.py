"""Is a recipe right? Checks its keys, its header and the files that they name.

Axolotl silently drops a key that it does not know, so a misspelt recipe trains something else than
it says. Nothing is trained, loaded or downloaded here.
"""

import copy
import importlib.util
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.errors import UserError
from tools.models import quiet_and_offline  # first: what Axolotl imports would ask the hub
from tools.recipe import Recipe, number, read_recipe, recipes_in, whole
from tools.recipe_header import Header
from validation.preflight.cards import Card
from validation.preflight.kernels import kernel_problem
from validation.preflight.keys import empty_keys, repeated_keys, unknown_keys
from validation.preflight.launch_files import (
    accelerate_problems,
    deepspeed_problems,
    readable,
    zero_stage,
)
from validation.preflight.trackers import tracker_problems, trackers
from validation.verdict import VerdictRow, in_section

COGEX_PLUGIN = "tools.training.plugin.CogexPlugin"
KEPT_UNLESS_TOLD = 4  # axolotl.core.builders.base: save_total_limit
KERNELS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel", "lora_embedding_kernel")
ATTENTION_PACKAGES = {
    "flash_attention_2": "flash_attn",
    "flash_attention_3": "flash_attn_interface",
    "xformers": "xformers",
    "sage": "sageattention",
}
ABOVE_ZERO = (
    "lora_r", "lora_alpha", "sequence_len", "micro_batch_size",
    "eval_batch_size", "num_epochs", "max_steps", "learning_rate",
    "logging_steps",
)  # fmt: skip
HOPPER = 90  # compute capability from which Axolotl trusts packing with sdpa in bf16

_CONFIG_FILE = re.compile(r"--config_file[ =](\S+)")


@dataclass(frozen=True)
class _Subject:
    """What the checks look at."""

    recipe: Recipe
    header: Header
    card: Card | None  # None for a recipe that runs on a CPU
    gpus: int

    @property
    def values(self) -> dict[str, Any]:
        return self.recipe.values

    @property
    def is_adapter(self) -> bool:
        return self.recipe.adapter in ("lora", "qlora")


def check_recipe(
    recipe: Recipe, header: Header, *, card: Card | None, gpus: int
) -> list[VerdictRow]:
    """Return one row of section `recipe` for each check.

    `card` and `gpus` are what the run is planned for; None is a CPU. Relative paths start at the
    working folder, where the run would be launched. Raises UserError if the file cannot be read.
    """
    subject = _Subject(recipe, header, card, gpus)
    with quiet_and_offline():  # a warning that matters has a row of its own
        return [row for check in CHECKS for row in _looked_at(check, subject)]


def _looked_at(check: Callable[[_Subject], VerdictRow], subject: _Subject) -> list[VerdictRow]:
    """Run all checks even if one stumbles over a value."""
    return in_section("recipe", lambda: [check(subject)], check.__name__.strip("_"))


def _row(check: str, value: str, problems: list[str], todo: str) -> VerdictRow:
    """A failure that names every problem, or else `value`."""
    if problems:
        return VerdictRow(check, "; ".join(problems), "fail", todo)
    return VerdictRow(check, value)


def _note(check: str, value: str) -> VerdictRow:
    return VerdictRow(check, value, "note")


# the file itself


def _plugins(subject: _Subject) -> VerdictRow:
    """Load the recipe's plugins, because they may add keys; CogexPlugin must be among them."""
    from axolotl.integrations.base import PluginManager, load_plugin

    names = subject.values.get("plugins") or []
    problems = []
    for name in names:
        try:
            PluginManager.get_instance().plugins[name] = load_plugin(str(name))
        except (ImportError, AttributeError, ValueError) as error:  # Axolotl continues without it
            problems.append(f"`{name}` cannot be loaded: {error}")
    if COGEX_PLUGIN not in names:
        problems.append(f"`{COGEX_PLUGIN}` is not there: nothing keeps the batch or resumes")
    return _row("plugins", f"{len(names)} loaded", problems, "correct `plugins`")


def _keys(subject: _Subject) -> VerdictRow:
    """No key, at any depth, that the schema would leave out."""
    from axolotl.utils.config import merge_input_args

    _, schema = merge_input_args()
    return _row(
        "keys",
        f"all {len(subject.values)} known to Axolotl",
        list(unknown_keys(subject.values, schema)),
        "correct or remove: Axolotl ignores such a key without a word",
    )


def _written(subject: _Subject) -> VerdictRow:
    """No key without a value, and none twice in one mapping: YAML keeps the last."""
    text = subject.recipe.path.read_text(encoding="utf-8")
    problems = [f"`{key}` has no value" for key in empty_keys(subject.values)]
    problems += [f"`{key}` is written more than once" for key in repeated_keys(text)]
    return _row("values", "none empty, none twice", problems, "keep one value of each key")


def _schema(subject: _Subject) -> VerdictRow:
    """Axolotl's own validation, for the card planned."""
    import axolotl
    import torch
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault

    problems = []
    try:
        validate_config(
            DictDefault(copy.deepcopy(subject.values)),
            capabilities=_capabilities(subject),
            env_capabilities={"torch_version": torch.__version__.split("+")[0]},
        )
    except Exception as error:  # its validators raise whatever comes
        problems.append(readable(error))
    return _row("schema", f"accepted by Axolotl {axolotl.__version__}", problems, "correct it")


def _sizes(subject: _Subject) -> VerdictRow:
    """Counts and rates that the schema takes at zero, below it, or as true and false."""
    held = [key for key in ABOVE_ZERO if key in subject.values]
    problems = [
        f"`{key}` is {subject.values[key]!r}"
        for key in held
        if not _above_zero(subject.values[key])
    ]
    return _row("sizes", f"{len(held)} values above zero", problems, "write a number above 0")


def _above_zero(value: Any) -> bool:
    try:  # YAML reads 3e-4 as a string
        return not isinstance(value, bool) and 0 < float(value) < math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _capabilities(subject: _Subject) -> dict[str, Any]:
    """What Axolotl would find on the card planned (axolotl.cli.config.gpu_capabilities)."""
    card = subject.card
    if card is None:
        return {"bf16": False, "fp8": False, "tf32": False, "n_gpu": subject.gpus}
    return {
        "bf16": True,  # all known cards are Ampere or newer
        "tf32": True,
        "fp8": _generation(card) >= HOPPER,
        "n_gpu": subject.gpus,
        "compute_capability": card.compute_capability,
    }


def _generation(card: Card) -> int:
    return int(card.compute_capability.removeprefix("sm_"))


# the header's promises


def _launch(subject: _Subject) -> VerdictRow:
    """The launch line ends in this file's name."""
    launch = subject.header.fields["Launch"]
    named, path = Path(launch.split()[-1]), subject.recipe.path
    if named.resolve() == path.resolve():
        return _row("launch line", f"names {named}", [], "")
    problems = [f"the header's Launch line names {named}, this is {path}"]
    right = launch.replace(str(named), str(path))
    todo = f"change the line `# Launch:   {launch}` to `# Launch:   {right}`"
    return _row("launch line", "", problems, todo)


def _accelerate(subject: _Subject) -> VerdictRow:
    """The launch line's accelerate file can be loaded and fits header and recipe."""
    match = _CONFIG_FILE.search(subject.header.fields["Launch"])
    if match is None:
        return _row("accelerate", "no file named", [], "")
    problems = list(accelerate_problems(Path(match[1]), subject.header.ranks))
    return _row("accelerate", match[1], problems, "correct the file, or name another")


# what the run would do


def _seed(subject: _Subject) -> VerdictRow:
    """A run without a seed cannot be done again."""
    seed = subject.values.get("seed")
    problems = [] if isinstance(seed, int) else ["`seed` is not set"]
    return _row("seed", str(seed), problems, "set `seed: 42`")


def _targets(subject: _Subject) -> VerdictRow:
    """The recipe names the modules that carry LoRA, because Axolotl fills in none."""
    targets = subject.values.get("lora_target_modules")
    given = targets or subject.values.get("lora_target_linear")
    problems = ["`lora_target_modules` is not set"] if subject.is_adapter and not given else []
    value = f"{subject.recipe.adapter} on {targets or 'all linear layers'}" if given else "none"
    todo = "set `lora_target_modules: [q_proj, k_proj, v_proj, o_proj]`, or the base's own names"
    return _row("adapter", value, problems, todo)


def _output_dir(subject: _Subject) -> VerdictRow:
    """No other recipe writes into this one's folder."""
    folder = subject.values.get("output_dir")
    if not isinstance(folder, str):
        return _row("output folder", "", ["`output_dir` is not set"], "set it")
    os.fsencode(folder)  # a name that no file system can hold is an error here
    others = [
        path.name
        for path in recipes_in(subject.recipe.path.parent)
        if path.resolve() != subject.recipe.path.resolve() and _writes_into(path, Path(folder))
    ]
    problems = [f"{folder} is also the folder of {name}" for name in others]
    return _row("output folder", f"{folder}, its own", problems, "set another `output_dir`")


def _writes_into(path: Path, folder: Path) -> bool:
    if folder.name not in path.read_text(encoding="utf-8", errors="replace"):
        return False  # most recipes, and YAML is slow to read
    try:
        return read_recipe(path).output_dir == folder
    except UserError:
        return False  # it has no say before it can be read


def _rhythm(subject: _Subject) -> VerdictRow:
    """Evaluations and checkpoints fall together, so that each checkpoint has its logged loss."""
    evaluates, saves = (_when(subject.values, noun) for noun in ("eval", "save"))
    problems = []
    if evaluates != saves or evaluates is None:
        problems.append(f"evaluates {evaluates or 'untold'}, saves {saves or 'untold'}")
    todo = "set evals_per_epoch and saves_per_epoch, or eval_steps and save_steps, to one number"
    times, epochs = (subject.values.get(key) for key in ("evals_per_epoch", "num_epochs"))
    if isinstance(times, int) and isinstance(epochs, int | float) and times * epochs <= 1:
        problems = ["Axolotl never evaluates where evals_per_epoch x num_epochs is 1 or less"]
        todo = "set eval_strategy and save_strategy to epoch in place of the two"
    return _row("evaluation", f"{saves}, each with a checkpoint", problems, todo)


def _when(values: dict[str, Any], noun: str) -> str | None:
    """When Axolotl does it, in words; None if the recipe does not say."""
    if values.get(f"{noun}s_per_epoch"):
        return f"{values[f'{noun}s_per_epoch']} an epoch"
    if values.get(f"{noun}_steps"):
        return f"every {values[f'{noun}_steps']} steps"
    return "1 an epoch" if values.get(f"{noun}_strategy") == "epoch" else None


def _kept(subject: _Subject) -> VerdictRow:
    """Every checkpoint is still there when the best is chosen."""
    limit = subject.values.get("save_total_limit") or KEPT_UNLESS_TOLD
    try:
        made = _checkpoints(subject.recipe)
    except (UserError, OSError):  # another check says what is wrong with the number or the data
        return _note("checkpoints", f"the last {limit} are kept; how many come is not known yet")
    problems = [f"{made} are made, the last {limit} kept"] if made > limit else []
    todo = f"set `save_total_limit: {made}` or more"
    return _row("checkpoints", f"all {made} are kept", problems, todo)


def _checkpoints(recipe: Recipe) -> int:
    """How many the run writes. Raises UserError or OSError where that cannot be counted."""
    epochs = number(recipe, "num_epochs", 1)
    if recipe.values.get("save_steps") is None:
        return math.ceil(epochs * whole(recipe, "saves_per_epoch"))
    every = number(recipe, "save_steps", 1) or 1
    if every < 1:  # a share of the run
        return math.ceil(1 / every)
    steps: float = whole(recipe, "max_steps", 0)
    if not steps:
        with Path(recipe.training["path"]).open("rb") as lines:
            steps = sum(1 for _ in lines) * epochs / whole(recipe, "examples_per_step")
    return math.ceil(steps / every)


# where it would run


def _precision(subject: _Subject) -> VerdictRow:
    """The number formats asked for exist on the card planned, and on this machine if it has one."""
    import torch

    asked = [key for key in ("bf16", "fp16", "tf32", "fp8") if subject.values.get(key)]
    value = ", ".join(asked) or "fp32"
    todo = "take it out, or plan for a GPU"
    if subject.card is None:
        problems = [f"`{key}` needs a GPU" for key in asked if key != "bf16"]
        return _row("precision", f"{value} on a CPU", problems, todo)
    if not torch.cuda.is_available():
        return _note("precision", f"{value}: cannot be tried here, this machine has no GPU")
    unable = "bf16" in asked and not torch.cuda.is_bf16_supported(including_emulation=False)
    problems = [f"{torch.cuda.get_device_name()} has no bf16"] if unable else []
    return _row("precision", f"{value} on {subject.card.name}", problems, todo)


def _attention(subject: _Subject) -> VerdictRow:
    """The attention asked for is installed, fits the device, and keeps packed rows apart."""
    from axolotl.utils.schemas.enums import LEGACY_ATTN_FLAG_TO_IMPL

    values = subject.values
    flags = [impl for flag, impl in LEGACY_ATTN_FLAG_TO_IMPL.items() if values.get(flag)]
    name = str(values.get("attn_implementation") or next(iter(flags), "sdpa"))
    package = ATTENTION_PACKAGES.get(name)
    problems = []
    if package and importlib.util.find_spec(package) is None:
        problems.append(f"{name} needs the package {package}, which is not installed")
    if package and subject.card is None:
        problems.append(f"{name} needs a GPU")
    if not problems and _may_lose_loss(subject, name):
        return _note(
            "attention",
            f"{name}, packed, bf16: Axolotl warns that before Hopper the loss may be 0.0; "
            "look at the first ones that are logged",
        )
    return _row("attention", name, problems, "install it, or set attn_implementation: sdpa")


def _may_lose_loss(subject: _Subject, attention: str) -> bool:
    """Axolotl's own rule (schemas/config.py, check_sample_packing_w_sdpa_bf16)."""
    values, card = subject.values, subject.card
    packed = values.get("sample_packing") and values.get("bf16") and attention == "sdpa"
    return bool(packed and card and _generation(card) < HOPPER)


def _kernels(subject: _Subject) -> VerdictRow:
    """Axolotl's LoRA kernels, on unless the recipe names one, can run where they are on."""
    values = subject.values
    named = [values[key] for key in KERNELS if values.get(key) is not None]
    on = any(named) if named else subject.is_adapter
    problems = []
    if on and subject.card is None:
        problems.append("they need a GPU")
    if on and zero_stage(values.get("deepspeed")) == 3:
        problems.append("they read the weights past the hooks by which ZeRO-3 gathers them")
    if on and (problem := kernel_problem(subject.recipe.base_model)):
        problems.append(problem)
    value = f"{'on' if on else 'off'}{'' if named else ', as Axolotl chooses'}"
    todo = f"set {', '.join(KERNELS[:3])} to false"
    return _row("LoRA kernels", value, problems, todo)


def _deepspeed(subject: _Subject) -> VerdictRow:
    """The DeepSpeed file is accepted by DeepSpeed, filled as transformers fills it."""
    path = subject.values.get("deepspeed")
    if path is None:
        return _row("DeepSpeed", "not used", [], "")
    problems = list(deepspeed_problems(Path(str(path)), subject.values))
    return _row("DeepSpeed", str(path), problems, "correct the file, or name another")


def _trackers(subject: _Subject) -> VerdictRow:
    """Each tracker that is asked for can record the run."""
    return _row(
        "trackers",
        ", ".join(trackers(subject.values)) or "none",
        list(tracker_problems(subject.values)),
        "correct that, or remove the tracker's keys (docs/trackers.md)",
    )


CHECKS: tuple[Callable[[_Subject], VerdictRow], ...] = (
    _plugins,  # first: they may add keys
    _keys,
    _written,
    _schema,
    _sizes,
    _launch,
    _accelerate,
    _seed,
    _targets,
    _output_dir,
    _rhythm,
    _kept,
    _precision,
    _attention,
    _kernels,
    _deepspeed,
    _trackers,
)
