"""The page for a box with two GPUs: what needs no GPU works as it stands, on the demo's run."""

import re
import shlex

from tests.engine.forked import ROOT, start, wait
from tests.engine.recipe_runs import DemoRun

PAGE = ROOT / "docs/from-nothing-to-served.md"
TRAIN = "accelerate launch -m axolotl.cli.train recipes/cogex-llama2-13b.yml"


def test_every_command_that_needs_no_gpu_works(demo: DemoRun) -> None:
    """In its order, with the demo's recipe in place of the page's."""
    lines = "".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)).splitlines()
    assert len(lines) == 9
    for line in lines:
        program, *words = shlex.split(line.replace("cogex-llama2-13b", "cogex-tiny"))
        assert program == "cogex"
        [code] = wait(start(demo.folder, "page.log", "module", "cogex", *words))
        said = (demo.folder / "page.log").read_text(errors="replace")
        assert code == 0, f"{line}\n{said[-3000:]}"
    assert (demo.folder / "outputs/cogex-tiny/export/model.safetensors").is_file()


def test_one_launch_line_everywhere() -> None:
    header = (ROOT / "recipes/cogex-llama2-13b.yml").read_text()
    for path in ("README.md", "recipes/README.md", "docs/from-nothing-to-served.md"):
        assert f"\n{TRAIN}\n" in (ROOT / path).read_text(), path
    assert f"# Launch:   {TRAIN}\n" in header
