"""A browser opens the demo's report: on a phone in light colours, on a desk in dark ones."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engine.recipe_runs import DemoRun

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

SCHEMES = {"dark": 0, "light": 1}  # Chromium's numbers
GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}
# shows a page in a window of some width, and leaves as its own title: the width before and after
# every part is opened, texts that stick out, pictures' widths, and what the page has asked for
FRAME = """<iframe src="PAGE" width="WIDTH" height="800" style="border: 0"></iframe><script>
onload = () => {
  const frame = document.querySelector('iframe'), page = frame.contentDocument;
  const width = page.documentElement.clientWidth, closed = page.documentElement.scrollWidth;
  page.querySelectorAll('details').forEach(x => x.open = true);
  const blocks = [...page.querySelectorAll('p, h1, h2, h3, h4, pre, li, figcaption')];
  document.title = JSON.stringify({
    width: Math.max(closed, page.documentElement.scrollWidth),
    background: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    outside: blocks.filter(x => x.getBoundingClientRect().right > width + 1)
      .map(x => x.textContent.slice(0, 80)),
    pictures: [...page.querySelectorAll('figure > svg')].map(x => x.getBoundingClientRect().width),
    examples: page.querySelectorAll('.examples > details').length,
    requests: frame.contentWindow.performance.getEntriesByType('resource').map(x => x.name),
  });
};
</script>"""


def look(page: Path, folder: Path, width: int, scheme: str) -> dict[str, Any]:
    """What is seen of a page; `problems` are messages of the console."""
    host = folder / "host.html"
    host.write_text(FRAME.replace("PAGE", page.resolve().as_uri()).replace("WIDTH", str(width)))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--enable-logging=stderr",
        "--dump-dom", str(host),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    [title] = re.findall("<title>(.*)</title>", done.stdout)
    return json.loads(title) | {"problems": re.findall(":CONSOLE.*", done.stderr)}


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1200, "dark")])
def test_browser_shows_the_page_whole(
    demo: DemoRun, tmp_path: Path, width: int, scheme: str
) -> None:
    seen = look(demo.folder / "outputs/cogex-tiny/report.html", tmp_path, width, scheme)
    assert (seen["problems"], seen["requests"], seen["outside"]) == ([], [], [])
    assert seen["width"] <= width
    answers = demo.result["checks"]["fine-tuned"]["measures"]["answer_exact"]
    assert seen["examples"] == 5 + min(5, answers["rows"] - answers["count"])
    assert len(seen["pictures"]) == 4
    assert min(seen["pictures"]) > 300  # CSS pixels, also on a phone
    assert seen["background"] == GROUND[scheme]


def test_problems_and_requests_are_seen(tmp_path: Path) -> None:
    """What the test above finds absent, it would find."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body style='width: 2000px'><script>console.error('no')</script>"
        "<img src='http://127.0.0.1:9/a.png'><p style='width: 900px'>wide"
    )
    seen = look(bad, tmp_path, 375, "light")
    assert seen["requests"] == ["http://127.0.0.1:9/a.png"]
    assert len(seen["problems"]) == 1 and seen["outside"] == ["wide"]
    assert seen["width"] > 375
