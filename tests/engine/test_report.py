"""A browser opens the demo's report: on a phone in light colours, on a desk in dark ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.chromium import CHROMIUM, Scheme, browser, look
from tests.engine.recipe_runs import DemoRun

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}
# widths before and after every part is opened, texts that stick out of the window, pictures' widths
MEASURE = """(() => {
  const width = document.documentElement.clientWidth;
  const closed = document.documentElement.scrollWidth;
  document.querySelectorAll('details').forEach(x => x.open = true);
  const blocks = [...document.querySelectorAll('p, h1, h2, h3, h4, pre, li, figcaption')];
  return {
    width: Math.max(closed, document.documentElement.scrollWidth),
    background: getComputedStyle(document.body).backgroundColor,
    outside: blocks.filter(x => x.getBoundingClientRect().right > width + 1)
      .map(x => x.textContent.slice(0, 80)),
    pictures: [...document.querySelectorAll('figure > svg')]
      .map(x => x.getBoundingClientRect().width),
    examples: document.querySelectorAll('.examples > details').length,
  };
})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1200, "dark")])
def test_browser_shows_the_page_whole(
    demo: DemoRun, address: str, width: int, scheme: Scheme
) -> None:
    page = demo.folder / "outputs/cogex-tiny/report.html"
    seen = look(address, page, width=width, scheme=scheme, expression=MEASURE)
    assert seen.problems == []
    assert seen.requests == [page.resolve().as_uri()]
    assert seen.value["width"] <= width
    assert seen.value["outside"] == []
    assert seen.value["examples"] == 10
    assert len(seen.value["pictures"]) == 4
    assert min(seen.value["pictures"]) > 300  # CSS pixels, also on a phone
    assert seen.value["background"] == GROUND[scheme]


def test_problems_and_requests_are_seen(address: str, tmp_path: Path) -> None:
    """What the test above finds absent, it would find."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body style='width: 2000px'><script>console.error('no')</script>"
        "<img src='http://127.0.0.1:9/a.png'>"
    )
    seen = look(address, bad, width=375, scheme="light", expression=MEASURE)
    assert "http://127.0.0.1:9/a.png" in seen.requests
    assert len(seen.problems) >= 2  # the message, and the picture that is not there
    assert seen.value["width"] > 375
