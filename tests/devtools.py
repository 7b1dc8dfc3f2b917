"""A page that is served, in headless Chromium: driven by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from browser import FLAGS, chromium

# A busy machine may need long; a page that is as it should be is waited for no longer than it takes.
PATIENCE = 60.0


class Browser:
    """A tab of the browser.

    Attributes:
        requests: Addresses that the page asked for.
        complaints: Errors on its console, and exceptions of its scripts.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            event = json.loads(message.data)
            parameters = event.get("params", {})
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event["method"] == "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        event = await asyncio.wait_for(answer, PATIENCE)
        assert "error" not in event, event
        return event["result"]

    async def open(self, url: str, width: int, height: int = 900) -> None:
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            await self.call(f"{domain}.enable")
        await self.resize(width, height)
        await self.call("Page.navigate", url=url)

    async def resize(self, width: int, height: int = 900) -> None:
        options = {"deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """What an expression is once it is true."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not (value := await self.evaluate(expression)):
            assert asyncio.get_running_loop().time() < deadline, (expression, self.complaints)
            await asyncio.sleep(0.1)
        return value

    async def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files in an input element."""
        document = await self.call("DOM.getDocument")
        node = await self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node["nodeId"])

    async def screenshot(self, file: Path) -> None:
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """Start Chromium with a new profile, and connect to its first tab."""
    profile = folder / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [chromium(), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                tabs = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tabs[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _port(file: Path, process: subprocess.Popen) -> int:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < deadline and process.poll() is None:
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("Chromium did not start")
