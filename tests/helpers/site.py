"""Shares and a gateway in a namespace, for tests with a browser.

with Site() as site:
    url = site.serve(path, "--limit-up", "700K")
"""

import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.helpers.commands import LOOPBACK, peer_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal

__all__ = ["Site", "make_film", "missing_film"]

BITRATE = "1600k"  # bits per second of a film
RATES = (
    "b:v",
    "minrate",
    "maxrate",
    "bufsize",
)  # all frames are of this kind, so the rate is constant


def missing_film() -> str | None:
    """Return why no film can be made here; None if it can."""
    return None if shutil.which("ffmpeg") else "ffmpeg is not installed"


def make_film(
    path: Path, seconds: int, picture: str = "testsrc2=size=640x360:rate=15"
) -> None:
    """Make a film of 200 KB per second with its index at the start, as on the web."""
    rates = [word for name in RATES for word in (f"-{name}", BITRATE)]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture]
        + ["-t", str(seconds)]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
        + ["-g", "15", *rates, "-x264-params", "nal-hrd=cbr"]
        + ["-movflags", "+faststart", str(path)],
        check=True,
        timeout=60,
    )


class Site:
    """A namespace in which only `lo` is up, and the programs in it."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self._stack = ExitStack()
        self._stack.enter_context(self.namespace)

    def serve(self, path: Path, *options: str, holders: int = 1) -> str:
        """Share a path and serve it; return the URL of the gateway's page."""
        sharing = [self._shoal("share", path, *options) for _ in range(holders)]
        link = sharing[0].wait_line(r"^shoal:\w+", stream="out")[0]
        peers = [word for each in sharing for word in ("--peer", peer_of(each))]
        serving = self._shoal("serve", link, *peers)
        return serving.wait_line(r"^http://\S+", stream="out")[0]

    def serve_folder(self, folder: Path) -> int:
        """Start a web server for a folder; return its port."""
        words = [sys.executable, "-u", "-m", "http.server", "--directory", str(folder)]
        server = self._start(Program([*words, "0"], namespace=self.namespace))
        return int(server.wait_line(r"port (\d+)")[1])

    def _shoal(self, *words: object) -> Program:
        return self._start(shoal(*words, ns=self.namespace, env=LOOPBACK))

    def _start(self, program: Program) -> Program:
        return self._stack.enter_context(program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
