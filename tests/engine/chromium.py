"""Opens a page in headless Chromium and tells what happened, by the DevTools protocol."""

import asyncio
import base64
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120  # for Chromium to start, and for each page

Scheme = Literal["light", "dark"]


@dataclass
class Seen:
    """What one opening of a page showed; sizes are in CSS pixels."""

    problems: list[Any] = field(default_factory=list)  # console messages, exceptions, violations
    requests: list[str] = field(default_factory=list)
    background: str = ""
    content_width: int = 0
    screenshot: bytes = b""  # PNG of the whole page
    values: Any = None  # of the expression that was asked for


def look(
    page: Path, profile: Path, *, width: int, scheme: Scheme, expression: str = "null"
) -> Seen:
    """Open a page of `width` pixels in a fresh browser and return what was seen.

    `expression` is JavaScript, evaluated in the page; its value must be JSON.
    """
    with _chromium(profile) as address:
        return asyncio.run(_look(address, page, width, scheme, expression))


@contextmanager
def _chromium(profile: Path) -> Iterator[str]:
    """Run Chromium and give the address of its DevTools."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _address(profile / "DevToolsActivePort")
    finally:
        process.terminate()
        process.wait()


def _address(port_file: Path) -> str:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        lines = port_file.read_text().split("\n") if port_file.is_file() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.1)
    raise TimeoutError(f"Chromium did not start in {SECONDS} s")


async def _look(address: str, page: Path, width: int, scheme: Scheme, expression: str) -> Seen:
    async with (
        asyncio.timeout(SECONDS),
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=0) as socket,
    ):
        tab = _Tab(socket)
        target = await tab.call("Target.createTarget", url="about:blank")
        attached = await tab.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab.id = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        await tab.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        await tab.call("Page.navigate", url=page.resolve().as_uri())
        await tab.wait_for("Page.loadEventFired")
        tab.seen.content_width = await tab.value("document.documentElement.scrollWidth")
        tab.seen.background = await tab.value("getComputedStyle(document.body).backgroundColor")
        tab.seen.values = await tab.value(expression)
        shot = await tab.call("Page.captureScreenshot", captureBeyondViewport=True)
        tab.seen.screenshot = base64.b64decode(shot["data"])
        return tab.seen


class _Tab:
    """Sends commands to one page, and keeps what its events tell."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.id: str | None = None
        self.seen = Seen()
        self.events: set[str] = set()

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_json(message | ({"sessionId": self.id} if self.id else {}))
        while (answer := await self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def value(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait_for(self, event: str) -> None:
        while event not in self.events:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        message = await self.socket.receive_json()
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.seen.requests.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.seen.problems.append(message["params"])
            case str(event):
                self.events.add(event)
        return message
