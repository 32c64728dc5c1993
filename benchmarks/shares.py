"""Says what a profile's time went to, as shares of the CPU time of PyTorch's operators."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
LOSS = ("cross_entropy", "softmax", "nll_loss")


def profiler() -> Any:
    """Return a profiler of the CPU, to be entered or started."""
    return profile(activities=[ProfilerActivity.CPU], record_shapes=True)


def shares(profiled: Any, vocabulary: int) -> dict[str, float]:
    """Sort operators into products, of which those of the head, attention, loss, and the rest."""
    total = {"matrix products": 0.0, "vocabulary head": 0.0, "attention": 0.0, "loss": 0.0,
             "else": 0.0}  # fmt: skip
    for event in profiled.key_averages(group_by_input_shape=True):
        total[_kind(event.key, event.input_shapes, vocabulary)] += event.self_cpu_time_total
    whole = sum(total.values())
    return {name: value / whole for name, value in total.items()}


def _kind(operator: str, shapes: list[list[int]], vocabulary: int) -> str:
    if operator in PRODUCTS:
        head = any(vocabulary in shape for shape in shapes if shape)
        return "vocabulary head" if head else "matrix products"
    if "scaled_dot_product" in operator:
        return "attention"
    return "loss" if any(name in operator for name in LOSS) else "else"


def told(found: dict[str, float]) -> str:
    """Return the shares as words."""
    return ", ".join(f"{name} {share:.0%}" for name, share in found.items())
