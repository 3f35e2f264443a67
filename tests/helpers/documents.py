"""Run the commands and programs on a page of the documentation, as a reader would.

The reader's two machines are two folders, `here` with the files to share and `there`
with the fetched files, and one namespace in which they find each other.

In a page, LINK stands for the link that the last share printed, ID for the link without
`shoal:`, CODE for its code, URL for the URL that the last `serve` printed, 192.0.2.7
for the sharing machine, and /srv/ for a folder of the fetching machine. There are these
blocks:

- `sh`: each line is run and must succeed, or exit with N after `# exit code N`. A
  command that shares or serves runs until the next one of its kind starts; one that
  seeds is not waited for once its download is complete.
- `text` directly after a command: its output, where `…` matches any text.
- `python`: a program, which is run. A program that shares must end by itself.
- Other blocks, and blocks after `<!-- not run: WHY -->`, are not run; the comment must
  name the test that covers the block.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.helpers.commands import code_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Program

__all__ = ["ROOT", "Block", "Reader", "blocks"]

ROOT = Path(__file__).parents[2]
ENDS = (0, 130)  # exit codes after an interruption, or at the normal end
START_TIME = 30.0  # seconds until a program must have printed its first line
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<mark>[^>]*?) -->\n+)?"
    r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_GOES_ON = re.compile(r"shoal (?:share|serve)\b|--seed\b")
_SHARES = re.compile(r"shoal share\b|\bshare\(")


class Block(NamedTuple):
    """One code block of a page."""

    language: str
    text: str
    mark: str
    """Why the block is not run; empty if it is run."""


def blocks(page: str) -> Iterator[Block]:
    """Yield the code blocks of a Markdown page."""
    for match in _BLOCK.finditer(page):
        yield Block(match["language"], match["text"], match["mark"] or "")


class Reader:
    """Run the blocks of a page."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.here, self.there = folder / "here", folder / "there"
        for each in (self.here, self.there, self.there / "srv"):
            each.mkdir()
        self.home = folder / "home"
        self.known = {"LINK": "", "ID": "", "CODE": "", "URL": ""}
        self._sharing: Program | None = None
        self._sharing_ends = False
        self._others: list[Program] = []
        self.said = ""

    def read(self, page: str) -> None:
        """Run all blocks of a page in order."""
        for block in blocks(page):
            if block.mark:
                continue
            match block.language:
                case "sh":
                    for line in block.text.replace("\\\n", " ").splitlines():
                        self.type(line)
                case "python":
                    self.execute(block.text)
                case "text" if self.said:
                    self.compare(block.text)
            if block.language != "sh":
                self.said = ""
        self.stop()

    def type(self, line: str) -> None:
        """Run one command."""
        command, _, comment = line.partition("  #")
        if not command.strip():
            return
        code = re.search(r"exit code (\d+)", comment)
        # With `exec`, signals reach shoal instead of the shell.
        first = "exec " if re.match(r"(\S+/)?shoal ", command) else ""
        argv = ["sh", "-c", first + self.fill_in(command)]
        if "| shoal share" in command:  # the shell becomes the last of the pipeline
            text = self.fill_in(command).replace("| shoal", "| exec shoal")
            argv = ["bash", "-O", "lastpipe", "-c", text]
        if code is not None or not _GOES_ON.search(command):
            self.run(argv, int(code[1]) if code is not None else 0)
        elif _SHARES.search(command):
            self.share(argv)
        else:
            program = self.start(argv, self.there)
            self._others.append(program)
            self.learn(program)

    def execute(self, program: str) -> None:
        """Run a Python program."""
        path = self.here / "example.py"
        path.write_text(self.fill_in(program))
        argv = [sys.executable, str(path)]
        if _SHARES.search(program):
            self.share(argv, ends=True)
        else:
            self.run(argv)

    def run(self, argv: list[str], expected: int = 0) -> None:
        """Run a program to its end."""
        code, out, err = self.start(argv, self.there).finish(START_TIME)
        self.said = out.decode(errors="replace") + err
        assert code == expected, (argv, code, self.said)

    def share(self, argv: list[str], *, ends: bool = False) -> None:
        """Start a program that shares instead of the last; `ends` if it ends itself."""
        self._end_sharing()
        self._sharing = self.start(argv, self.here)
        self._sharing_ends = ends
        self.learn(self._sharing, has_code="--code" in argv[-1])

    def start(self, argv: list[str], cwd: Path) -> Program:
        """Start a program in the folder of the reader's machine."""
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SHOAL_LAN_ONLY": "1",
            "XDG_DATA_HOME": str(self.home),
        }
        return Program(argv, namespace=self.namespace, cwd=cwd, env=env)

    def learn(self, program: Program, *, has_code: bool = False) -> None:
        """Wait until a program prints a link, perhaps a code, or a URL; remember it."""
        said = program.wait_line(r"^\S+$", START_TIME, stream="out")[0]
        self.said = said + "\n"
        if said.startswith("http"):
            self.known["URL"] = said.rstrip("/")
        elif program is self._sharing:
            self.known["LINK"], self.known["ID"] = said, said.removeprefix("shoal:")
            if has_code:
                self.known["CODE"] = code_of(program)
                self.said += self.known["CODE"] + "\n"

    def fill_in(self, text: str) -> str:
        """Replace the placeholders of the page."""
        for name, value in self.known.items():
            text = re.sub(rf"\b{name}\b", value, text)
        text = text.replace("192.0.2.7", "127.0.0.1")
        return text.replace("/srv/", f"{self.there}/srv/")

    def compare(self, expected: str) -> None:
        """Check the output of the last command."""
        parts = map(re.escape, re.split(r"\s*…\s*", self.fill_in(expected).strip()))
        pattern = re.sub(r"(\\ |\\\n)+", r"\\s+", r"[\s\S]*".join(parts))
        assert re.search(pattern, self.said), (expected, self.said)

    def stop(self) -> None:
        """Interrupt the running programs; they must end without an error."""
        self._end_sharing()
        for program in self._others:
            program.send(signal.SIGINT)
            assert program.finish().code in ENDS
        self._others.clear()

    def kill(self) -> None:
        """End all programs, also after a failed test."""
        for program in (*self._others, self._sharing):
            if program is not None:
                program.kill()

    def _end_sharing(self) -> None:
        program, self._sharing = self._sharing, None
        if program is None:
            return
        if not self._sharing_ends:
            program.send(signal.SIGINT)
        ended = program.finish()
        assert ended.code in ENDS, ended
