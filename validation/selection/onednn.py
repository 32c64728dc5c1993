"""Frozen fp32 products on a CPU by oneDNN, which uses AVX-512 where MKL leaves it unused.

PyTorch multiplies fp32 matrices by MKL, and on processors of AMD MKL keeps to AVX2: oneDNN is about
twice as fast there. The sums differ in the order of additions alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil  # type: ignore[import-untyped]
import torch

LEAST = 2**16  # elements of a weight that is worth the change
SHARE = 0.5  # of the free memory that the copies of the weights may take


class OneDnnLinear(torch.nn.Module):
    """A linear layer for inference, its weight laid out for oneDNN."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        """Lay a copy of the weight (out, in) out; DoRA reads the weight itself."""
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        # the operators that torch.compile uses for frozen weights
        self.laid_out = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (..., in) times the weight, plus the bias: (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.laid_out, self.bias, "none", [], "")


@contextmanager
def fast_products(model: torch.nn.Module) -> Iterator[None]:
    """Give a model's large fp32 layers on the CPU to oneDNN, and put them back afterwards.

    Nothing is done where oneDNN is not built in, or where memory is short for the copies.
    """
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and _is_worth_it(child.weight)
    ]
    size = sum(child.weight.nbytes for _, _, child in layers)
    if not torch.backends.mkldnn.is_available() or size > SHARE * psutil.virtual_memory().available:
        layers = []
    try:
        for parent, name, child in layers:
            setattr(parent, name, OneDnnLinear(child))
        yield
    finally:
        for parent, name, child in layers:
            setattr(parent, name, child)


def _is_worth_it(weight: torch.Tensor) -> bool:
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu and weight.numel() >= LEAST
