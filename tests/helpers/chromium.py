"""A real Chromium without a window, driven by its DevTools protocol.

It keeps its profile in a folder of the test, asks nobody outside, and is ended with
the test. https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import json
import os
import shutil
import signal
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Chromium", "Tab", "missing_chromium", "open_chromium"]

PATIENCE = 20.0  # seconds that a browser on a busy machine may take
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--no-first-run",
    "--no-pings",
    "--no-proxy-server",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    # Whatever it would look up is not there.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--remote-debugging-port=0",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def _program() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


def missing_chromium() -> str | None:
    """Say why there is no browser here; None when there is one."""
    return None if _program() else "chromium is not installed"


class Tab:
    """One page of the browser, and all that it complained of."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self.complaints: list[str] = []
        """Errors and violated policies that the console told."""
        self._browser = browser
        self._session = session

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        return await self._browser.call(method, params, self._session)

    async def go(self, url: str) -> None:
        """Open an address and wait until the page is loaded."""
        loaded = self._browser.expect("Page.loadEventFired", self._session)
        said = await self.call("Page.navigate", url=url)
        assert "errorText" not in said, said
        async with asyncio.timeout(PATIENCE):
            await loaded

    async def run(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        said = await self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, script: str, patience: float = PATIENCE) -> Any:
        """Wait until an expression is true; return its value."""
        # Asked in the page, so that nothing is missed between two questions.
        wait = f"""new Promise((done, fail) => {{
            const end = Date.now() + {patience * 1000};
            const look = () => {{
                let value; try {{ value = ({script}); }} catch (e) {{ value = null; }}
                if (value) done(value);
                else if (Date.now() > end) fail(new Error("never: " + {script!r}));
                else setTimeout(look, 20);
            }};
            look();
        }})"""
        return await self.run(wait)

    async def screenshot(self, **params: Any) -> bytes:
        """Return a picture of the page as PNG."""
        said = await self.call("Page.captureScreenshot", format="png", **params)
        return b64decode(said["data"])

    async def screen(self, width: int, height: int, *, scale: float = 1) -> None:
        """Have a window of this size, in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        """Take note of what the console says."""
        if method == "Log.entryAdded":
            entry = params["entry"]
            if entry["level"] in ("error", "warning"):
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str(params["args"]))


class Chromium:
    """A running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._expected: list[tuple[str, str, asyncio.Future[None]]] = []

    async def open_tab(self, *, scripts: bool = True) -> Tab:
        """Open an empty page, which runs scripts or not."""
        target = await self.call("Target.createTarget", {"url": "about:blank"})
        said = await self.call(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        tab = self._tabs[said["sessionId"]] = Tab(self, said["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            await tab.call(f"{domain}.enable")
        if not scripts:
            await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        return tab

    async def call(
        self, method: str, params: dict[str, Any], session: str | None = None
    ) -> Any:
        """Call a method of the protocol; return its result."""
        self._number += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        await self._socket.send_json(message)
        async with asyncio.timeout(PATIENCE * 2):
            return await answer

    def expect(self, method: str, session: str) -> asyncio.Future[None]:
        """Return what is done once an event has come."""
        future = asyncio.get_running_loop().create_future()
        self._expected.append((method, session, future))
        return future

    async def listen(self) -> None:
        """Hand on what the browser says until it ends."""
        async for message in self._socket:
            self._on_message(json.loads(message.data))

    def _on_message(self, said: dict[str, Any]) -> None:
        if "id" in said:
            answer = self._answers.pop(said["id"])
            if answer.done():
                return
            if "error" in said:
                answer.set_exception(AssertionError(said["error"]))
            else:
                answer.set_result(said["result"])
            return
        method, session = said["method"], said.get("sessionId", "")
        if session in self._tabs:
            self._tabs[session].on_event(method, said["params"])
        for expected in list(self._expected):
            if expected[:2] == (method, session):
                self._expected.remove(expected)
                expected[2].set_result(None)


@asynccontextmanager
async def open_chromium(
    folder: Path, command: Callable[[list[str]], list[str]] = lambda argv: argv
) -> AsyncIterator[Chromium]:
    """Start a browser with its profile in `folder`; `command` says how."""
    program = _program()
    assert program is not None
    argv = command([program, *FLAGS, f"--user-data-dir={folder}", "about:blank"])
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": ""},
        start_new_session=True,
    )
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(await _address(process), max_msg_size=0) as socket,
        ):
            browser = Chromium(socket)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
                await asyncio.wait([listening])
    finally:
        # Its helpers are in its process group, which is ours alone.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        assert process.stderr is not None
        await process.stderr.read()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Return where the browser listens, as it says on standard error."""
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(PATIENCE * 2):
        async for line in process.stderr:
            if line.startswith(b"DevTools listening on "):
                return line.split()[-1].decode()
            said += line
    raise AssertionError(f"chromium ended: {said.decode(errors='replace')[-2000:]}")
