"""The page on one's own base holds as it stands, and the run that it makes goes on when cut off.

Its base is a GPT-2, which is least like a Llama: fused projections that are no linear layers,
learnt positions, no BOS. tests/unit/validation/test_new_recipe.py has five more architectures.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.any_base import write_any_base
from tests.engine.forked import ROOT, start, wait
from tests.engine.rank_runs import cut_off
from tools.run_folder import checkpoint_folders
from tools.tiny.corpus import write_cogex_rows

TRAIN, VAL = 8, 4  # one step an epoch
PROGRAMS = {"cogex": "cogex", "accelerate": "accelerate.commands.accelerate_cli"}


def run(folder: Path, line: str) -> tuple[int | None, str]:
    program, *words = shlex.split(line)
    [code] = wait(start(folder, "page.log", "module", PROGRAMS[program], *words))
    return code, (folder / "page.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def folder(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the base and the rows that a reader has."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "models").symlink_to(ROOT / "models")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    write_cogex_rows(folder / "mine.json", TRAIN + VAL, 5)
    write_any_base(folder / "my-org/my-base", "gpt2", "gpt2")
    return folder


def test_every_command_of_the_page_works_and_the_run_goes_on(folder: Path) -> None:
    page = (ROOT / "docs/your-base.md").read_text()
    lines = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines()
    assert len(lines) == 8
    for line in lines:
        code, said = run(folder, line)
        # a random model meets no threshold
        assert code == (1 if line.startswith("cogex check") else 0), f"{line}\n{said[-3000:]}"
    output = folder / "outputs/mine"
    assert (output / "best/adapter_model.safetensors").is_file()
    *_, before, last = checkpoint_folders(output)
    weights = output / f"checkpoint-{last}/adapter_model.safetensors"
    kept = weights.read_bytes()
    cut_off(output, last)
    [launch] = [line for line in lines if line.startswith("accelerate")]
    code, said = run(folder, launch)
    assert code == 0 and f"continues from checkpoint-{before}" in said, said[-3000:]
    assert weights.read_bytes() == kept
