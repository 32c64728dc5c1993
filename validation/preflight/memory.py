"""How much memory one GPU needs to train an adapter on a base in bf16: an estimate in bytes.

The base is frozen, and nothing is offloaded. The parts left out (rank-wide activations, statistics
of the softmax, masks) are below 3% of a Llama's activations.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tools.errors import UserError
from tools.recipe import Recipe
from validation.preflight.architecture import Architecture

GIB = 2**30
BF16 = 2

# QLoRA, arXiv 2305.14314, section 3: 4 bits, an 8-bit constant for each 64 parameters, and a 32-bit
# one for each 256 of those: 4.127 bits
NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8

# ZeRO, arXiv 1910.02054, section 3.1, mixed precision: bf16 weight 2, bf16 gradient 2, and fp32
# weight 4; with Adam two moments of 4. Without DeepSpeed it is 8 and the moments too, since PEFT
# makes adapters in fp32: weight and gradient of 4 bytes each
TRAINED = 8
SHARDED = {0: None, 1: 4, 2: 6, 3: 8}  # of those 8, by ZeRO stage; the moments always are, but at 0

# cross-entropy of transformers, measured with torch 2.13: in the forward pass logits in bf16 and
# fp32 and their log-softmax (2 + 4 + 4); in the backward pass the log-softmax and two gradients
LOGIT_FORWARD = 10
LOGIT_BACKWARD = 12

REDUCE_BUCKET = 500_000_000  # DeepSpeed's default, in elements

# an allowance, not measured: CUDA context (about 0.5 GiB), workspaces of cuBLAS and NCCL, the
# gradients inside one layer, fragments that the allocator cannot use
RESERVE = 3 * GIB // 2


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU; training and evaluation are not there at the same time."""

    weights: float
    adapter: float  # weights, gradients and the optimizer's moments
    buckets: int  # DeepSpeed's buffers for gradients
    training: int  # activations and logits of the largest micro batch
    evaluation: int  # the same of the largest evaluation batch
    reserve: int = RESERVE

    @property
    def total(self) -> float:
        """The peak."""
        held = self.weights + self.adapter + self.buckets + self.reserve
        return held + max(self.training, self.evaluation)


@dataclass(frozen=True)
class Sharding:
    """How the model is spread over the GPUs: FSDP2 counts as ZeRO stage 3."""

    stage: int
    buckets: int  # bytes


def estimate(
    recipe: Recipe, built: Architecture, *, tokens: int, eval_tokens: int, gpus: int
) -> Memory:
    """Estimate the memory of one of `gpus` GPUs, with `tokens` in the largest micro batch."""
    sharding = read_sharding(recipe, built.config.hidden_size)
    return Memory(
        weights=weight_bytes(recipe, built, sharding, gpus),
        adapter=adapter_bytes(built.trained, moment_bytes(recipe), sharding.stage, gpus),
        buckets=sharding.buckets,
        training=tokens * training_bytes(built, checkpointing=is_checkpointed(recipe)),
        evaluation=eval_tokens * evaluation_bytes(built),
    )


def weight_bytes(recipe: Recipe, built: Architecture, sharding: Sharding, gpus: int) -> float:
    """The base: bf16, or with QLoRA NF4 for the layers' linear maps.

    bitsandbytes skips the head and experts; Axolotl has a key of its own for these.

    Where it is sharded, embeddings, head and two layers (one in use, one on its way) are gathered
    beside the shards.
    """
    in_4_bits = built.linear if recipe.values.get("load_in_4bit") else 0
    if recipe.values.get("quantize_moe_experts"):
        in_4_bits += built.experts
    layered = built.linear + built.experts
    others = BF16 * (built.parameters - layered)
    layers = in_4_bits * NF4 + (layered - in_4_bits) * BF16
    if sharding.stage < 3:
        return others + layers
    gathered = others + 2 * layers / built.config.num_hidden_layers
    return (others + layers) / gpus + gathered


def adapter_bytes(trained: int, moments: float, stage: int, gpus: int) -> float:
    """Weights, gradients and the optimizer's moments of the adapter on one GPU."""
    sharded = SHARDED[stage]
    shared = 0 if sharded is None else sharded + moments
    return trained * (TRAINED + moments - shared + shared / gpus)


def moment_bytes(recipe: Recipe) -> float:
    """What the recipe's optimizer keeps for each trained parameter: AdamW's two moments in fp32."""
    name = str(recipe.values.get("optimizer") or "adamw_torch").lower()
    if name.startswith(("sgd", "adafactor")):
        return 0
    size = 1 if "8bit" in name else 0.5 if "4bit" in name else 4
    return size if "lion" in name else 2 * size


def training_bytes(built: Architecture, *, checkpointing: bool) -> int:
    """Activations and logits for each token of a micro batch, in bytes.

    The method is that of Korthikanti et al., arXiv 2205.05198, section 4: count what the backward
    pass needs. For a layer with frozen weights, in bytes for each number of a token:

    - 4: norms keep their input in fp32 (RMSNorm; others keep less)
    - 8: q, k, v and the attention's output; memory-efficient attention keeps no s x s scores.
      With padding transformers repeats grouped keys and values to full width
    - 6: SwiGLU keeps gate, its SiLU and up (others keep less); the frozen maps keep nothing
    - 3 for each input of an adapted module: what dropout lets through, in bf16, and its mask

    Checkpointing keeps each layer's input (2), and one layer's activations while that layer is
    done again; the logits are gone by then.
    """
    config, widths = built.config, built.widths
    adapters = 3 * built.adapted_inputs // config.num_hidden_layers
    layer = round(4 * widths.norm + 8 * widths.attention + 6 * widths.mlp) + adapters
    logits = LOGIT_BACKWARD * config.vocab_size
    if checkpointing:
        return config.num_hidden_layers * BF16 * config.hidden_size + max(layer, logits)
    return config.num_hidden_layers * layer + logits


def evaluation_bytes(built: Architecture) -> int:
    """Logits and the last hidden state for each token; a layer's own buffers are smaller."""
    return LOGIT_FORWARD * built.config.vocab_size + BF16 * built.config.hidden_size


def is_checkpointed(recipe: Recipe) -> bool:
    """Whether activations are computed again in the backward pass, by the trainer or by FSDP."""
    fsdp = recipe.values.get("fsdp_config") or {}
    return bool(recipe.values.get("gradient_checkpointing") or fsdp.get("activation_checkpointing"))


def read_sharding(recipe: Recipe, hidden_size: int) -> Sharding:
    """Read how the recipe spreads the model. Raises UserError if its DeepSpeed file is unusable."""
    if recipe.values.get("fsdp_config"):
        return Sharding(stage=3, buckets=0)
    given = recipe.values.get("deepspeed") or {}
    try:
        whole = given if isinstance(given, dict) else json.loads(Path(given).read_text("utf-8"))
        zero = whole.get("zero_optimization", {})
        stage = zero.get("stage", 0)
        if stage not in SHARDED:
            raise ValueError(f"there is no ZeRO stage {stage}")
        if not stage or not zero.get("contiguous_gradients", True):
            return Sharding(stage, buckets=0)
        bucket = zero.get("reduce_bucket_size", REDUCE_BUCKET)
        if bucket == "auto":  # transformers fills it in
            bucket = hidden_size**2
        two = stage < 3 and zero.get("overlap_comm")  # then DeepSpeed allocates a second one
        return Sharding(stage, buckets=BF16 * int(bucket) * (2 if two else 1))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{recipe.path}: `deepspeed: {given}` is not a DeepSpeed config; correct it: {error}"
        ) from None
