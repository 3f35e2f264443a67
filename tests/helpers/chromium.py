"""A real Chromium without a window, controlled through its DevTools protocol.

Its profile is in a folder of the test, it sends no packets to the outside, and it ends
with the test. https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import io
import json
import os
import shutil
import signal
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.helpers.netns import Namespace

__all__ = ["Chromium", "Tab", "missing_chromium", "open_chromium"]

PATIENCE = 20.0  # seconds that a browser may take on a busy machine
POLL = 0.02  # seconds between two checks of a page
MAX_MESSAGE = 64 << 20  # bytes of one message
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root with its sandbox
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
    # No name resolves except those of this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--remote-debugging-pipe",
)
# The browser reads from file descriptor 3 and writes to 4.
_WITH_PIPES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def _program() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


def missing_chromium() -> str | None:
    """Return why there is no browser here; None if there is one."""
    return None if _program() else "chromium is not installed"


class Tab:
    """One page of the browser, with the errors on its console."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self.complaints: list[str] = []
        """Errors and policy violations from the console."""
        self._asked: dict[str, str] = {}  # addresses, by request
        self._answers: list[tuple[str, int]] = []  # requests and HTTP statuses
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
        # Without scripts a page could not wait by itself.
        guarded = (
            f"(() => {{ try {{ return ({script}); }} catch {{ return null; }} }})()"
        )
        for _ in range(int(patience / POLL)):
            value = await self.run(guarded)
            if value:
                return value
            await asyncio.sleep(POLL)
        raise AssertionError(f"never true: {script}")

    async def screenshot(self, **params: Any) -> bytes:
        """Return a picture of the page as PNG."""
        said = await self.call("Page.captureScreenshot", format="png", **params)
        return b64decode(said["data"])

    async def screen(self, width: int, height: int, *, scale: float = 1) -> None:
        """Set the size of the window in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def statuses(self, base: str) -> list[int]:
        """Return the HTTP status of every answer whose URL starts with `begin`."""
        return [s for r, s in self._answers if self._asked.get(r, "").startswith(base)]

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        """Record events of the console and the network."""
        if method == "Network.requestWillBeSent":
            self._asked[params["requestId"]] = params["request"]["url"]
        elif method == "Network.responseReceivedExtraInfo":
            self._answers.append((params["requestId"], params["statusCode"]))
        elif method == "Log.entryAdded":
            entry = params["entry"]
            if entry["level"] in ("error", "warning"):
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.complaints.append(str(params["args"]))


class Chromium:
    """A running browser."""

    def __init__(self, source: asyncio.StreamReader, sink: io.RawIOBase) -> None:
        self._source = source
        self._sink = sink
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Tab] = {}
        self._expected: list[tuple[str, str, asyncio.Future[None]]] = []
        self._downloads: dict[str, str] = {}  # names of files, by download
        self._saved: set[str] = set()  # names of those that are complete

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
        self._sink.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(PATIENCE * 2):
            return await answer

    async def save_to(self, folder: Path) -> None:
        """Save downloads to a folder, without asking."""
        await self.call(
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(folder), "eventsEnabled": True},
        )

    async def saved(self, path: Path) -> Path:
        """Wait until a download has this path, and return it."""
        async with asyncio.timeout(PATIENCE):
            while path.name not in self._saved:
                await self.expect("Browser.downloadProgress", "")
        return path

    def expect(self, method: str, session: str) -> asyncio.Future[None]:
        """Return a future that is done once an event arrives."""
        future = asyncio.get_running_loop().create_future()
        self._expected.append((method, session, future))
        return future

    async def listen(self) -> None:
        """Dispatch the messages of the browser until it ends."""
        with suppress(asyncio.IncompleteReadError):
            while True:
                said = await self._source.readuntil(b"\0")
                self._on_message(json.loads(said[:-1]))

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
        if method == "Browser.downloadWillBegin":
            name = said["params"]["suggestedFilename"]
            self._downloads[said["params"]["guid"]] = name
        elif method == "Browser.downloadProgress":
            if said["params"]["state"] == "completed":
                self._saved.add(self._downloads[said["params"]["guid"]])
        for expected in list(self._expected):
            if expected[:2] == (method, session):
                self._expected.remove(expected)
                expected[2].set_result(None)


@asynccontextmanager
async def open_chromium(
    folder: Path, namespace: Namespace | None = None
) -> AsyncIterator[Chromium]:
    """Start a browser with its profile in `folder`, in a namespace or outside."""
    program = _program()
    assert program is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    words = [sys.executable, "-ISc", _WITH_PIPES, str(theirs_in), str(theirs_out)]
    words += [program, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = await asyncio.create_subprocess_exec(
        *(namespace.command(words) if namespace else words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(theirs_in, theirs_out),
        env={**os.environ, "HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": ""},
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    with os.fdopen(ours_in, "rb", 0) as source, os.fdopen(ours_out, "wb", 0) as sink:
        reader = asyncio.StreamReader(limit=MAX_MESSAGE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), source
        )
        browser = Chromium(reader, sink)
        listening = asyncio.create_task(browser.listen())
        try:
            yield browser
        finally:
            listening.cancel()
            await asyncio.wait([listening])
            if process.returncode is None:
                # Its helper processes are in its process group, which we created.
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            transport.close()
