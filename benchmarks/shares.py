"""Says what a profile's time went to, as shares of the CPU time of PyTorch's operators."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise")
LOSS = ("cross_entropy", "softmax", "nll_loss")


def profiler() -> Any:
    """Return a profiler of the CPU, to be entered or started."""
    return profile(activities=[ProfilerActivity.CPU])  # recorded shapes would hold the tensors


def shares(profiled: Any) -> dict[str, float]:
    """Sort operators into matrix products, attention, loss, and the rest."""
    total = {"matrix products": 0.0, "attention": 0.0, "loss": 0.0, "else": 0.0}
    for event in profiled.key_averages():
        total[_kind(event.key)] += event.self_cpu_time_total
    whole = sum(total.values())
    return {name: value / whole for name, value in total.items()}


def _kind(operator: str) -> str:
    if operator in PRODUCTS:
        return "matrix products"
    if "scaled_dot_product" in operator:
        return "attention"
    return "loss" if any(name in operator for name in LOSS) else "else"


def told(found: dict[str, float]) -> str:
    """Return the shares as words."""
    return ", ".join(f"{name} {share:.0%}" for name, share in found.items())
