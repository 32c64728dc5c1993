"""The recipe's seed decides the adapter's random start, which Axolotl alone leaves unseeded."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# loads the recipe's model twice, the generator in another state each time
TWO_STARTS = """
import sys, torch
from axolotl.cli.config import load_cfg
from axolotl.loaders import ModelLoader, load_tokenizer
starts = []
for used in (0, 7):
    cfg = load_cfg(sys.argv[1])
    torch.rand(used)
    model, _ = ModelLoader(cfg, load_tokenizer(cfg)).load()
    starts.append([p for name, p in model.named_parameters() if "lora_A" in name])
print("same start:", all(map(torch.equal, *starts)), len(starts[0]))
"""


@pytest.mark.parametrize("seeded", [True, False])
def test_two_runs_start_from_the_same_adapter(tmp_path: Path, seeded: bool) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    recipe = (ROOT / "recipes" / "cogex-tiny.yml").read_text()
    lines = [line for line in recipe.splitlines(True) if seeded or "CogexPlugin" not in line]
    text = "".join(lines) if seeded else "".join(lines).replace("plugins:\n", "")
    (tmp_path / "recipe.yml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", TWO_STARTS, "recipe.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    # 16: one lora_A for each of four projections in each of four layers
    assert f"same start: {seeded} 16" in done.stdout, done.stdout[-500:] + done.stderr[-2000:]
