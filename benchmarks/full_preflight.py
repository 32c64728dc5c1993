"""Runs preflight over every recipe at full size: 52,000 made rows, the true architectures.

    python -m benchmarks.full_preflight [RECIPE …]

For want of the published data, models and tokenizers it makes, in a temporary folder: data of the
published size (`benchmarks.made_cogex`), and for each hub model that a recipe names a folder with
its true config, no weights, and a real tokenizer of its kind (SentencePiece with 32,000 pieces, or
byte-level BPE with 128,000). Prints verdict and seconds for each recipe; exit 1 if one fails.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.made_cogex import alpaca_rows, cogex_rows, write_array
from tests import real_tokenizers
from tools.prepare.alpaca import prepare_alpaca
from tools.prepare.cogex import prepare_cogex
from tools.recipe import read_recipe
from validation.preflight.architecture import load_config

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Make the data, run every recipe, print the table; return the exit status."""
    chosen = [Path(name) for name in sys.argv[1:]] or sorted(Path("recipes").glob("*-*llama*.yml"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for link in ("recipes", "models"):
            (folder / link).symlink_to(ROOT / link)
        os.chdir(folder)
        _make_data()
        for base in {read_recipe(path).base_model for path in chosen}:
            _make_base(base)
        results = [_run(path) for path in chosen]
    table = Table("recipe", "seconds", "failed", "notes")
    for path, seconds, result in results:
        verdicts = [row["verdict"] for row in result["verdicts"]]
        failed = ", ".join(f["name"] for f in result["verdicts"] if f["verdict"] == "fail")
        table.add_row(path.name, f"{seconds:.0f}", failed or "none", str(verdicts.count("note")))
    Console().print(table)
    return 0 if all(result["passed"] for _, _, result in results) else 1


def _make_data() -> None:
    write_array(Path("data.json"), cogex_rows())
    prepare_cogex(Path("data.json"), Path("data/cogex"))
    write_array(Path("alpaca.json"), alpaca_rows())
    prepare_alpaca(Path("alpaca.json"), Path("data/alpaca"))


def _make_base(base: str) -> None:
    folder = Path(base)
    if folder.exists():  # in the repository already
        return
    config = load_config(base)
    folder.mkdir(parents=True)
    if "Llama-3" in base:
        real_tokenizers.TIKTOKEN_SIZE = 128_000
        real_tokenizers.build_tiktoken(folder)
    else:
        real_tokenizers.build_llama2_hub(folder)
    config.save_pretrained(folder)


def _run(recipe: Path) -> tuple[Path, float, dict]:
    start = time.perf_counter()
    command = [sys.executable, "-m", "cogex", "preflight", str(recipe), "--json", "result.json"]
    done = subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    seconds = time.perf_counter() - start
    if done.returncode == 2:
        raise SystemExit(f"{recipe}: preflight could not run")
    return recipe, seconds, json.loads(Path("result.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
