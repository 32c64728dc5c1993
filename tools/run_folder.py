"""What is in a run folder: its checkpoints, which transformers names `checkpoint-STEP`."""

import re
from pathlib import Path

from tools.errors import remedy
from tools.recipe import Recipe

_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")


def to_train(recipe: Recipe) -> str:
    """What to do where there is no run yet: go to where it lies, or the command that makes it."""
    command = f"accelerate launch -m axolotl.cli.train {recipe.path}"
    return remedy(recipe.output_dir, f"train it first: `{command}`")


def checkpoint_step(path: Path) -> int | None:
    """The step of a checkpoint's folder, by its name; None for any other name."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) if match else None


def checkpoint_folders(run: Path) -> dict[int, Path]:
    """The checkpoint folders of a run by step, the earliest first; none where there is no run."""
    paths = run.iterdir() if run.is_dir() else ()
    found = {step: path for path in paths if (step := checkpoint_step(path)) is not None}
    return {step: found[step] for step in sorted(found) if found[step].is_dir()}
