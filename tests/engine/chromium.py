"""Opens a page in headless Chromium and tells what happened, by the DevTools protocol."""

import asyncio
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 120  # for Chromium to start, and for each page

Scheme = Literal["light", "dark"]


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """Run Chromium and give the address of its DevTools."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    port_file, end = profile / "DevToolsActivePort", time.monotonic() + SECONDS
    try:
        while not (port_file.is_file() and "\n" in port_file.read_text()):
            assert time.monotonic() < end, f"Chromium did not start in {SECONDS} s"
            time.sleep(0.1)
        port, _, path = port_file.read_text().partition("\n")
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        process.wait()


class Tab:
    """Sends commands to one page, and keeps what its events tell."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.address: dict[str, str] = {}
        self.problems: list[Any] = []  # console messages, exceptions, violations
        self.requests: list[str] = []
        self.loaded = False
        self.value: Any = None  # of the expression that was asked for

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_json(message | self.address)
        while (answer := await self.next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def next(self) -> dict[str, Any]:
        message = await self.socket.receive_json()
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.problems.append(message["params"])
            case "Page.loadEventFired":
                self.loaded = True
        return message


def look(address: str, page: Path, *, width: int, scheme: Scheme, expression: str) -> Tab:
    """Open a page of `width` CSS pixels in a new tab of a browser and return what was seen.

    `expression` is JavaScript, evaluated in the page; its value must be JSON.
    """
    return asyncio.run(_look(address, page, width, scheme, expression))


async def _look(address: str, page: Path, width: int, scheme: Scheme, expression: str) -> Tab:
    async with (
        asyncio.timeout(SECONDS),
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=0) as socket,
    ):
        tab = Tab(socket)
        target = await tab.call("Target.createTarget", url="about:blank")
        attach = {"targetId": target["targetId"], "flatten": True}
        tab.address = {
            "sessionId": (await tab.call("Target.attachToTarget", **attach))["sessionId"]
        }
        for domain in ("Page", "Network", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        await tab.call("Emulation.setDeviceMetricsOverride", **size)
        colours = {"name": "prefers-color-scheme", "value": scheme}
        await tab.call("Emulation.setEmulatedMedia", features=[colours])
        await tab.call("Page.navigate", url=page.resolve().as_uri())
        while not tab.loaded:
            await tab.next()
        found = await tab.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        tab.value = found["result"].get("value")
        return tab
