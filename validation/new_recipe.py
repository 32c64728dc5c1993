"""Writes a recipe for a base and data of one's own: an existing one, changed where it must be.

The text of the existing recipe is edited key by key, so that its order and comments stay.
"""

import math
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from prompt_strategies.base import CompletionStrategy, own_strategies
from tools.errors import UserError
from tools.files import whole_file
from tools.models import load_tokenizer
from tools.pad_token import pad_candidates
from tools.recipe import RECIPES, Recipe, find_recipe, read_recipe, recipes_in, whole
from tools.recipe_header import Header, read_header
from tools.results import Manifest, read_result
from validation.preflight.architecture import attention_targets, build, build_base, published
from validation.preflight.batches import PAD_TO, padded
from validation.preflight.cards import card_of
from validation.preflight.cost import NEARLY_FULL
from validation.preflight.data import MOST_OVER_LONG
from validation.preflight.kernels import kernel_problem
from validation.preflight.memory import GIB, estimate
from validation.preflight.tokenized import tokenize

LONGEST = 2048  # tokens of a row that every recipe takes; longer ones must be more than a few
KERNELS = dict.fromkeys(("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel"), False)

_AFTER = {"special_tokens": "tokenizer_type"} | dict.fromkeys(KERNELS, "attn_implementation")
_WRITTEN = "Written by `cogex new`"
_VARIANT = re.compile(r"-(qlora|packed|plan|fsdp2|random|augmented|\d{3,})")
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_HARDWARE = re.compile(r"^# Hardware:.*\n(?:#           .*\n)*", re.MULTILINE)


@dataclass(frozen=True)
class NewRecipe:
    """What was written, from which recipe, and what it says that the other did not."""

    path: Path
    template: Path
    changed: dict[str, Any]


def new_recipe(name: str, base: str, data: Path, template: Path | None = None) -> NewRecipe:
    """Write recipes/NAME.yml, which trains `base` on the prepared rows in `data`.

    `template` is the recipe that it follows: the closest one if None. Raises UserError if the name
    is taken, or if base or data cannot be used; then nothing is written.
    """
    path = _free_path(name)
    base = base.rstrip("/") or base
    manifest, strategies = _prepared(data)
    model = build_base(base)
    old = _template(template, strategies, model.num_parameters())
    tokenizer, values = _for_base(base, model)
    values |= _for_data(old, data, manifest, strategies)
    values["output_dir"] = f"outputs/{path.stem}"
    draft = Recipe(path, old.values | {"tokenizer_type": "AutoTokenizer"} | values)
    values["sequence_len"] = _sequence_len(draft, tokenizer, model.config.get_text_config())
    draft.values.update(values)
    header = read_header(old.path)
    values |= _for_card(draft, header, sorted(model._no_split_modules)[0])
    text = _header(old, header, path, values, strategies[0].prepared_by) + _edited(old, values)
    with whole_file(path) as file:
        file.write(text)
    changed = {key: value for key, value in values.items() if old.values.get(key) != value}
    return NewRecipe(path, old.path, changed)


def print_new_recipe(written: NewRecipe, console: Console) -> None:
    """Say what was written and what to do next."""
    lines = [f"{written.path}: written as {written.template}, but for"]
    for key, value in written.changed.items():
        shown = value[0]["path"] if key.endswith("datasets") else value
        lines.append(f"  {key}: {'(taken out)' if value is None else shown}")
    lines.append(f"Next: cogex preflight {written.path.stem}")
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _free_path(name: str) -> Path:
    stem = Path(name).name.removesuffix(".yml").removesuffix(".yaml")
    if not _NAME.fullmatch(stem) or Path(name).parent not in (Path(), RECIPES):
        raise UserError(
            f"{name}: is no name for a recipe; take letters, digits, dots and dashes, as my-recipe"
        )
    if not RECIPES.is_dir():
        raise UserError("the folder recipes is not here; run in the repository's folder")
    path = RECIPES / f"{stem}.yml"
    taken = [each for each in (path, Path("outputs") / stem) if each.exists()]
    if taken or any(each.stem == stem for each in recipes_in(RECIPES)):
        raise UserError(f"{taken[0] if taken else path}: is there already; choose another name")
    return path


def _prepared(data: Path) -> tuple[Manifest, list[type[CompletionStrategy]]]:
    """Return the manifest of prepared rows, and the strategies that read them."""
    manifest = read_result(Manifest, data / "manifest.json", "cogex prepare")
    missing = [name for name in ("train.jsonl", "val.jsonl") if not (data / name).is_file()]
    if manifest is None or missing:
        raise UserError(
            f"{data}: holds no {missing[0] if missing else 'manifest.json'}; make the folder with "
            f"`cogex prepare cogex --input FILE --out {data}`"
        )
    fitting = [each for each in own_strategies() if each.dataset == manifest.format]
    if not fitting:
        raise UserError(
            f"{data}/manifest.json: `format: {manifest.format}` is no dataset of prompts; for a "
            "corpus copy a recipe named code-base-*"
        )
    own = f"prompt_strategies.{manifest.format}"  # before what else reads these rows
    return manifest, sorted(fitting, key=lambda each: each.__module__ != own)


def _template(
    named: Path | None, strategies: list[type[CompletionStrategy]], parameters: int
) -> Recipe:
    """Return the recipe to follow: the named one, else that of the closest base, its plain one."""
    types = [each.__module__ for each in strategies]
    if named is not None:
        given = read_recipe(find_recipe(named))
        if given.training.get("type") not in types or given.adapter is None:
            raise UserError(
                f"{given.path}: trains no adapter on rows of {strategies[0].dataset}; name another "
                "recipe with --from, or none"
            )
        return given
    paths = [path for path in recipes_in(RECIPES) if _WRITTEN not in path.read_text("utf-8")]
    known = [read_recipe(path) for path in paths]
    fitting = [each for each in known if each.adapter and each.training.get("type") == types[0]]
    if not fitting:
        raise UserError(f"recipes: none trains an adapter on rows of {strategies[0].dataset}")
    return min(fitting, key=lambda each: _distance(each, parameters))


def _distance(recipe: Recipe, parameters: int) -> tuple[bool, float, str]:
    entry = published(recipe.base_model)
    try:
        theirs = entry["parameters"] if entry else build_base(recipe.base_model).num_parameters()
    except UserError:  # the base is made by another recipe, and not there yet
        theirs = 1
    stem = recipe.path.stem
    return bool(_VARIANT.search(stem)), abs(math.log(theirs / parameters)), stem


def _for_base(base: str, model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the tokenizer, and what a recipe says of the base: no token is added to it."""
    rows = model.config.get_text_config().vocab_size
    kind, tokenizer = "AutoTokenizer", load_tokenizer(base)
    if len(tokenizer) > rows:  # as Code Llama's own class, which adds a token
        kind = "PreTrainedTokenizerFast"
        tokenizer = load_tokenizer(base, kind)
    if tokenizer.eos_token is None:
        raise UserError(f"{base}: its tokenizer has no EOS token, so a model would never stop")
    values: dict[str, Any] = {
        "base_model": base,
        "tokenizer_type": kind,
        "lora_target_modules": attention_targets(model),
        "special_tokens": None,
    }
    candidates = pad_candidates(tokenizer, rows)
    if not candidates:
        raise UserError(f"{base}: its vocabulary has no token that can pad; add one to the base")
    if candidates[0] != tokenizer.pad_token:
        values["special_tokens"] = {"pad_token": candidates[0]}
        tokenizer.add_special_tokens({"pad_token": candidates[0]})
    return tokenizer, values


def _for_data(
    old: Recipe, data: Path, manifest: Manifest, strategies: list[type[CompletionStrategy]]
) -> dict[str, Any]:
    kinds = [each.__module__ for each in strategies]
    kind = next((each for each in kinds if each == old.training.get("type")), kinds[0])
    with (data / "val.jsonl").open("rb") as lines:
        rows = sum(1 for line in lines if line.strip())
    return {
        "datasets": [old.training | {"path": f"{data}/train.jsonl", "type": kind}],
        "test_datasets": [old.validation | {"path": f"{data}/val.jsonl", "type": kind}],
        "validation_rows": rows,
        "dataset_prepared_path": f"{data}/prepared",
    }


def _sequence_len(draft: Recipe, tokenizer: Any, config: Any) -> int:
    """The longest row, or where that is over 2,048 tokens what leaves few enough rows out."""
    both = tokenize(draft, tokenizer)
    longest = max(int(split.lengths.max()) for split in (both.train, both.val))
    most = max(
        int(np.quantile(split.lengths, 1 - MOST_OVER_LONG / 2, method="higher"))
        for split in (both.train, both.val)
    )
    wanted = min(longest, max(LONGEST, most))
    context = getattr(config, "max_position_embeddings", None) or wanted
    return min(-(-wanted // PAD_TO) * PAD_TO, context)


def _for_card(draft: Recipe, header: Header, layer: str) -> dict[str, Any]:
    """A micro batch that fits the card; the base's layer, and kernels only where they fit it."""
    card = card_of(header.card_gb)
    values: dict[str, Any] = {}
    if card is None:
        return values
    if kernel_problem(draft.base_model):
        values |= KERNELS
    if sharded := draft.values.get("fsdp_config"):
        values["fsdp_config"] = sharded | {"transformer_layer_cls_to_wrap": layer}
    built, first = build(draft), whole(draft, "micro_batch_size")
    micro, row = first, padded(draft, draft.sequence_len)

    def need(rows: int) -> float:
        tokens = rows * row
        found = estimate(draft, built, tokens=tokens, eval_tokens=tokens, gpus=header.ranks)
        return found.total / GIB

    while micro > 1 and need(micro) > NEARLY_FULL * card.memory_gib:
        micro //= 2
    if micro != first:
        values |= {"micro_batch_size": micro, "eval_batch_size": micro}
    return values


def _header(
    old: Recipe, header: Header, path: Path, values: dict[str, Any], prepared_by: str
) -> str:
    base, data = values["base_model"], Path(values["dataset_prepared_path"]).parent
    launch = header.fields["Launch"].rsplit(maxsplit=1)[0]
    hardware = _HARDWARE.search(old.path.read_text(encoding="utf-8"))
    keys = [key for key, value in values.items() if old.values.get(key) != value]
    note = f"{_WRITTEN} after {old.path}. It differs in {', '.join(keys)}."
    lines = [
        f"{'QLoRA' if old.adapter == 'qlora' else 'LoRA'} on {base} for the rows in {data}.",
        "",
        f"Needs:    {data} from `{prepared_by}`;",
        f"          {base}, as a folder here or from the Hugging Face hub",
        f"Launch:   {launch} {path}",
        *(line[2:] for line in (hardware[0] if hardware else "").splitlines()),
        "Time:     not measured",
        "",
        *textwrap.wrap(note, 97, break_long_words=False, break_on_hyphens=False),
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"


def _edited(old: Recipe, values: dict[str, Any]) -> str:
    """Return the old recipe's text after its header, with these values; None takes a key out."""
    text = old.path.read_text(encoding="utf-8").split("\n\n", 1)[1]
    for key, value in values.items():
        if old.values.get(key) == value:
            continue
        block = re.compile(rf"^{key}:.*\n(?:(?:[ \t]+|- ).*\n)*", re.MULTILINE)
        if not block.search(text):  # an empty one, after another key
            text = re.sub(rf"^({_AFTER.get(key, 'seed')}:.*\n)", rf"\1{key}:\n", text, flags=re.M)
        start, end = next(block.finditer(text)).span()
        text = text[:start] + ("" if value is None else _yaml(key, value)) + text[end:]
    return text


def _yaml(key: str, value: Any) -> str:
    """Write one key as the recipes do: short lists on a line, datasets indented below theirs."""
    flow = None if isinstance(value, list) and isinstance(value[0], str) else False
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 1000}
    first, *rest = yaml.safe_dump({key: value}, default_flow_style=flow, **options).splitlines()
    indent = "  " if rest and rest[0].startswith("-") else ""
    return "".join(f"{line}\n" for line in (first, *(indent + line for line in rest)))
