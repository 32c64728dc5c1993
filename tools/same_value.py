"""Compares values of recipes and adapters by what they mean, not by how they are spelled."""

import os
from decimal import Decimal, InvalidOperation
from typing import Any

# the order in these lists means nothing to PEFT
UNORDERED = {
    "lora_target_modules",
    "lora_exclude_modules",
    "lora_modules_to_save",
    "lora_target_parameters",
    "peft_layers_to_transform",
    "peft_trainable_token_indices",
}
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def plain(value: Any, key: str = "") -> Any:
    """A value in the one spelling of its meaning; `key` is the recipe's.

    `2e-3`, which YAML reads as text, is 0.002; a path is the place that it leads to; an empty list
    and a key without a value are None.
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str | int | float):
        return _plain_scalar(str(value))
    if isinstance(value, dict):
        named = {name: plain(item, name) for name, item in value.items()}
        return {name: item for name, item in named.items() if item is not None} or None
    items = [plain(item) for item in value]
    return (sorted(set(items), key=str) if key in UNORDERED else items) or None


def _plain_scalar(text: str) -> Any:
    try:
        if (number := Decimal(text)).is_finite():
            return number
    except InvalidOperation:
        pass
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    # os.path, for a name that is too long is no path
    return os.path.realpath(text) if os.path.exists(text) else text  # noqa: PTH110
