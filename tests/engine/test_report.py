"""A browser opens the report of the demo's run, on a phone and on a desk, in light and in dark."""

from pathlib import Path

import pytest

from tests.engine.chromium import CHROMIUM, Scheme, look
from tests.engine.demo_run import DemoRun
from tools.recipe import read_recipe
from validation.report.report import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

PNG = b"\x89PNG\r\n\x1a\n"
GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}
# every part opened; texts that stick out of the window, and pictures that are drawn too small
MEASURE = """(() => {
  document.querySelectorAll('details').forEach(x => x.open = true);
  const width = document.documentElement.clientWidth;
  const pictures = [...document.querySelectorAll('figure > svg')];
  const blocks = [...document.querySelectorAll('p, h1, h2, h3, h4, pre, li, figcaption')];
  return {
    opened: document.documentElement.scrollWidth,
    outside: blocks.filter(x => x.getBoundingClientRect().right > width + 1)
      .map(x => x.textContent.slice(0, 80)),
    pictures: pictures.map(x => x.getBoundingClientRect().width),
    examples: document.querySelectorAll('.examples > details').length,
  };
})()"""


@pytest.fixture(scope="module")
def page(demo: DemoRun) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(demo.folder)
        return demo.folder / report(read_recipe(Path("recipes/cogex-tiny.yml")))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1200])
def test_browser_shows_the_page_whole(
    page: Path, tmp_path: Path, width: int, scheme: Scheme
) -> None:
    seen = look(page, tmp_path / "profile", width=width, scheme=scheme, expression=MEASURE)
    assert seen.problems == []
    assert seen.requests == [page.resolve().as_uri()]
    assert max(seen.content_width, seen.values["opened"]) <= width
    assert seen.values["outside"] == []
    assert seen.values["examples"] == 10
    assert len(seen.values["pictures"]) == 4
    assert min(seen.values["pictures"]) > 300  # CSS pixels, also on a phone
    assert seen.background == GROUND[scheme]
    assert seen.screenshot.startswith(PNG)


def test_problems_and_requests_are_seen(tmp_path: Path) -> None:
    """What the test above finds absent, it would find."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body style='width: 2000px'><script>console.error('no')</script>"
        "<img src='http://127.0.0.1:9/a.png'>"
    )
    seen = look(bad, tmp_path / "profile", width=375, scheme="light")
    assert "http://127.0.0.1:9/a.png" in seen.requests
    assert len(seen.problems) >= 2  # the message, and the picture that is not there
    assert seen.content_width > 375
