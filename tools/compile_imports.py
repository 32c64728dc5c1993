"""Imports all that a command or a training imports at its start, to compile the bytecode.

uv compiles nothing, and under PYTHONDONTWRITEBYTECODE, which images often set, every start would
compile it all again. Compiling every file of every package takes several times as long.
"""

import contextlib
import importlib
import io
import pkgutil

from tools.models import quiet_and_offline

OURS = ("prompt_strategies", "tools", "validation")
ENGINE = ("axolotl.cli.train", "axolotl.core.builders", "transformers.models.llama.modeling_llama")


def main() -> None:
    """Import everything, and discard what libraries print."""
    names = [*ENGINE, "deepspeed", "cogex"]
    for package in OURS:
        path = importlib.import_module(package).__path__
        names += [module.name for module in pkgutil.walk_packages(path, f"{package}.")]
    with quiet_and_offline(), contextlib.redirect_stderr(io.StringIO()):
        for name in names:
            if not name.endswith("__main__"):
                importlib.import_module(name)


if __name__ == "__main__":
    main()
