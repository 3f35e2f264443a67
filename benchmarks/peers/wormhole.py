"""magic-wormhole, with its own mailbox and transit relay on loopback.

It has a separate virtual environment, which is made at its first use, because shoal
does not need it and it installs Twisted. A sender serves only once, so each run has a
new one, which starts and connects to the mailbox before the clock starts.
"""

import subprocess
import sys
import venv
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path

from platformdirs import user_cache_path
from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.peers.launch import start, wait_listening
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = ["PEER", "Wormhole", "missing_wormhole"]

_PACKAGES = (
    "magic-wormhole>=0.24",
    "magic-wormhole-mailbox-server>=0.8",
    "magic-wormhole-transit-relay>=0.5",
)
_PATIENCE = 300  # seconds that installing may take


@cache
def missing_wormhole() -> str | None:
    """Install magic-wormhole if missing; return why that failed, None if not."""
    folder = _environment()
    if (folder / "complete").exists():
        return None
    print("  installing magic-wormhole, once ...", file=sys.stderr, flush=True)
    python = str(folder / "bin" / "python")
    try:
        venv.create(folder, clear=True, with_pip=True)
        argv = [python, "-m", "pip", "install", "--quiet", *_PACKAGES]
        subprocess.run(argv, check=True, capture_output=True, timeout=_PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return "pip could not install it"
    (folder / "complete").touch()
    return None


def _environment() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return user_cache_path("shoal-bench") / f"magic-wormhole-{version}"


class Wormhole:
    """A mailbox and a relay; starts senders and receivers that use them."""

    def __init__(
        self, stack: ExitStack, namespace: Namespace, folder: Path, ports: Sequence[int]
    ) -> None:
        """Start both servers; they keep their files in `folder`."""
        mailbox, relay = ports
        self._namespace = namespace
        self._folder = folder
        self._codes = (f"{number}-bench-mark" for number in count(1))
        self._argv = [str(_environment() / "bin" / "wormhole")]
        self._argv += ["--relay-url", f"ws://127.0.0.1:{mailbox}/v1"]
        self._argv += ["--transit-helper", f"tcp:127.0.0.1:{relay}"]
        twist = [str(_environment() / "bin" / "twist"), "--log-level=warn"]
        for plugin, port in (("wormhole-mailbox", mailbox), ("transitrelay", relay)):
            argv = [*twist, plugin, f"--port=tcp:{port}:interface=127.0.0.1"]
            start(stack, namespace, argv, cwd=folder)
            wait_listening(namespace, port)

    def send(self, stack: ExitStack, path: Path) -> tuple[Program, str]:
        """Start a sender; return it and its code once a receiver can connect."""
        code = next(self._codes)
        argv = [*self._argv, "send", "--hide-progress", "--no-qr", "--code", code]
        program = start(stack, self._namespace, [*argv, str(path)], cwd=self._folder)
        program.wait_line(f"^wormhole receive {code}$", 60, stream="err")
        return program, code

    def receive_argv(self, code: str, target: Path) -> list[str]:
        """Return the command that receives the file with that code."""
        argv = [*self._argv, "receive", "--hide-progress", "--accept-file"]
        return [*argv, "-o", str(target), code]


def _start(job: Job) -> Way:
    folder = job.folder("wormhole")
    ports = (next(job.ports), next(job.ports))
    wormhole = Wormhole(job.setup.stack, job.namespace, folder, ports)
    target = folder / "target"

    def fetch(stack: ExitStack) -> Fetch:
        sender, code = wormhole.send(stack, job.source)
        return Fetch(wormhole.receive_argv(code, target), target, [sender.pid])

    return fetch


PEER = Peer(
    name="magic-wormhole",
    how=(
        "mailbox and relay on loopback, encrypted, the whole file verified by SHA-256; "
        "the sender was started beforehand."
    ),
    missing=missing_wormhole,
    start=_start,
)
