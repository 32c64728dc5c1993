"""Models are loaded whole, from safetensors, or one message says why not."""

import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tools.errors import UserError
from tools.models import (
    add_adapter,
    load_base,
    load_model,
    load_tokenizer,
    load_trained,
    quantization,
    quiet_and_offline,
)
from tools.recipe import Recipe


@pytest.mark.parametrize(
    "name", ["outputs/x", "models/x", "./a/b", "/a/b", "~/x", "word", "a/b/c", Path("owner/model")]
)
def test_missing_folder_is_not_looked_for_on_the_hub(name: str | Path) -> None:
    with pytest.raises(UserError, match="there is no such model folder"):
        load_base(name)


@pytest.mark.parametrize("load", [load_base, load_tokenizer])
def test_hub_id_is_looked_for_on_the_hub(load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="can be loaded from it"):
        load("owner-of-nothing/Llama-2-7b-hf")


def test_imports_are_quiet_and_off_the_hub(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn
) -> None:
    """Else bitsandbytes downloads a kernel, or spends minutes on trying."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with quiet_and_offline():
        assert constants.is_offline_mode()
        logging.getLogger("library").warning("not to be seen")
        warnings.warn("not to be seen", UserWarning, stacklevel=1)
    assert not constants.is_offline_mode()
    assert not caplog.records
    assert not recwarn.list
    logging.getLogger("library").warning("to be seen")
    assert [record.message for record in caplog.records] == ["to be seen"]


WATCH = """import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "bitsandbytes":
            from huggingface_hub import constants
            print(constants.is_offline_mode(), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
import tools.models
"""


def test_bitsandbytes_is_imported_off_the_hub() -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WATCH], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done


WEIGHTS, PICKLE = "model.safetensors", "pytorch_model.bin"


def lack_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def widen(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('size": 64', 'size": 65'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lack_weights, r"lacks 1 weights, as model\.layers\.1\.mlp\.up_proj"),
        (widen, "no model can be loaded from it"),
        (lambda folder: os.truncate(folder / WEIGHTS, 9999), "no model can be loaded"),
        (lambda folder: (folder / WEIGHTS).rename(folder / PICKLE), "no model can be loaded"),
    ],
    ids=["weights missing", "another shape", "truncated", "pickles"],
)
def test_base_that_is_not_whole(
    tiny_base: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    spoil(tmp_path / "base")
    with pytest.raises(UserError, match=message):
        load_base(tmp_path / "base")


def test_memory_that_runs_out_is_not_blamed_on_the_adapter(
    tiny_model, tmp_path: Path, write_adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(PeftModel, "load_adapter", no_room)
    with pytest.raises(torch.OutOfMemoryError):
        add_adapter(tiny_model, write_adapter(tmp_path / "adapter"))


ONCE = {"bnb_4bit_use_double_quant": False}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"adapter": "qlora", "load_in_4bit": True}, NF4),
        ({"adapter": "qlora"}, None),
        ({"adapter": "lora", "load_in_4bit": True}, None),
        ({}, None),
        ({"adapter": "qlora", "load_in_4bit": True, "bnb_config_kwargs": ONCE}, NF4 | ONCE),
    ],
)
def test_base_is_quantised_where_axolotl_does(values: dict, expected: dict | None) -> None:
    assert quantization(Recipe(Path("recipe.yml"), values)) == expected
    with pytest.raises(UserError, match=r"recipe\.yml: `load_in_8bit` is not supported here"):
        quantization(Recipe(Path("recipe.yml"), values | {"load_in_8bit": True}))


def test_quantised_base_holds_nf4_and_computes_in_fp32_on_every_cpu(tiny_base: Path) -> None:
    """On a CPU with AVX-512 BF16 bitsandbytes would repack the weights and compute in bf16."""
    model, plain = load_base(tiny_base, NF4), load_base(tiny_base, NF4).dequantize()
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.quant_state.quant_type == "nf4" and weight.quant_state.nested
    assert weight.nelement() == 32 * 32 // 2 // 2  # two numbers a byte, two bytes an element
    assert model.lm_head.weight.dtype == torch.float32
    ids = torch.arange(10, 40)[None]
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, plain(ids).logits, rtol=1e-5, atol=1e-5)


def test_checkpoint_is_put_on_the_base_that_is_asked_for(tmp_path: Path, write_adapter) -> None:
    folder = write_adapter(tmp_path / "checkpoint-5")
    names = []
    for values in ({}, {"adapter": "qlora", "load_in_4bit": True}):
        model = load_model(folder, Recipe(Path("recipe.yml"), values))
        names.append(type(model.base_model.model.model.layers[0].mlp.up_proj).__name__)
    assert names == ["Linear", "Linear4bit"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        *(
            ({"adapter_config.json": text}, "names no base model; is the folder whole")
            for text in ("{", "[]", "{}")
        ),
        ({"adapter_config.json": "BASE"}, r"holds no adapter_model\.safetensors"),
        (
            {"adapter_config.json": "BASE", "checkpoint.json": "{}"},
            r"checkpoint\.json: does not say how the base is held",
        ),
    ],
)
def test_adapter_folder_that_is_not_whole(
    tmp_path: Path, tiny_base: Path, files: dict[str, str], message: str
) -> None:
    config = json.dumps({"base_model_name_or_path": str(tiny_base)})
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("BASE", config))
    with pytest.raises(UserError, match=message):
        load_trained(tmp_path)
