"""Can Axolotl's LoRA kernels run on a base? They rewrite the source of its attention."""

import inspect
import tempfile

from tools.errors import UserError
from tools.models import quiet_and_offline
from validation.preflight.architecture import load_config


def kernel_problem(base_model: str) -> str:
    """Say why the kernels refuse a base; nothing where they take it, or where it is not known."""
    from axolotl.monkeypatch.lora_kernels import (
        ORIGINAL_O_CODE,
        QKV_PATCHES,
        get_attention_cls_from_config,
    )
    from axolotl.monkeypatch.utils import detab_code
    from axolotl.utils.dict import DictDefault

    try:
        config = load_config(base_model)
    except UserError:  # the model section says why
        return ""
    with tempfile.TemporaryDirectory() as folder, quiet_and_offline():
        config.save_pretrained(folder)
        named = {"base_model": folder, "model_config_type": config.model_type}
        try:
            attention = get_attention_cls_from_config(DictDefault(named))
        except Exception:  # it imports a module by a name that it makes up
            return f"they know no attention of a {config.model_type}"
    source, _ = detab_code(inspect.getsource(attention.forward))
    fits = any(original in source for original, _ in QKV_PATCHES) and ORIGINAL_O_CODE in source
    return "" if fits else f"they do not fit the {attention.__name__} of a {config.model_type}"
