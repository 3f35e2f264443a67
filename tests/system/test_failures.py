"""Every exit code of the command line: a table of commands, codes and messages.

Each row runs a process. Its message on standard error is one sentence that tells the
user what to do; with `--json`, the last line on standard output has the same message.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from shoal.core.names.link import Link
from tests.helpers.badpeers import FlipsABit, StopsHalfway
from tests.helpers.commands import (
    LOOPBACK,
    code_of,
    link_of,
    mistyped,
    peer_of,
    run,
    share,
)
from tests.helpers.events import lines_of
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.process import Program
from tests.helpers.requirements import require
from tests.helpers.wire import Content

CONTENT = Content.make(50_000)
NOBODYS = str(Link(b"nobody" + bytes(26)))
MISTYPED = NOBODYS[:-1] + ("a" if NOBODYS[-1] != "a" else "b")


class Row(NamedTuple):
    """One failure: the command, its exit code and its message."""

    code: int
    command: str
    """{link} and {peer} are those of a shared file, {folder} is the test's own."""
    message: str
    """A pattern."""
    with_: str = ""
    """The preparation: the name of a method of `Setting`."""
    no_json: bool = False
    """Whether the command has no JSON lines."""


GET = "get {link} --peer {peer}"
OPEN = f"get {CONTENT.id} -o {{folder}}/o --timeout 1 --peer"

TABLE = [
    Row(0, f"{GET} -o {{folder}}/o", ""),
    Row(0, "verify {link} {file} --peer {peer}", ""),
    Row(0, "info {link} --peer {peer}", ""),
    # Failures without a code of their own.
    Row(1, "share {folder}/nofile", "There is no file .*; check its name"),
    Row(
        1,
        f"{GET} -o {{folder}}/no/o",
        "There is no folder .* create it or choose another",
    ),
    Row(1, f"{GET} -o {{folder}}/o", "Another shoal is already downloading", "busy"),
    Row(1, "share {file} --port {taken}", r"Port \d+ is in use; choose", "taken"),
    Row(1, "doctor --port {taken}", "checks failed: listening", "taken"),
    # Wrong command lines.
    Row(2, "frobnicate", "There is no command frobnicate"),
    Row(2, "gett {link}", r"did you mean get\?"),
    Row(2, "get {link} --nosuch", "There is no option --nosuch"),
    Row(2, "get", "Missing argument 'LINK'"),
    Row(2, f"get {MISTYPED}", "This link was mistyped: .* Copy it again"),
    Row(2, f"{GET} -o a -C b", "give one of them"),
    Row(2, "share {file} --open x --public", "--public is not for open channels"),
    Row(2, "share {file} --chunk-size 99999", "power of two"),
    Row(2, "share {file}", "no interface 'nosuch0'", "nosuch0"),
    Row(2, "share {file}", "no key 'lan_only'; did you mean lan-only", "wrong_file"),
    Row(2, "cat {link} --json", "leave out --json", no_json=True),
    Row(2, "cat {link} -r 9-1 --peer {peer}", "no range 9-1", no_json=True),
    Row(
        2,
        "chunk {link} 99 --peer {peer}",
        "There is no chunk 99; request one from 0 to 3.",
        no_json=True,
    ),
    # No peer has the share.
    Row(3, f"get {NOBODYS} --timeout 0.2", "found no peer"),
    Row(3, f"get {NOBODYS} --timeout 1 --peer {{peer}}", "found 1 peer but could not"),
    Row(3, f"ls {NOBODYS} --timeout 0.2", "found no peer"),
    Row(3, f"verify {NOBODYS} {{file}} --timeout 0.2", "found no peer"),
    Row(3, f"chunk {CONTENT.id} 0 --timeout 0.2", "No data arrived", no_json=True),
    # Permission denied.
    Row(4, f"{GET} -C {{folder}}", "does not allow shoal to .*; change", "closed"),
    Row(4, "share {file}", "cannot be read .*; change its permissions", "unreadable"),
    # Verification failed.
    Row(
        5, "verify {link} {folder}/o --peer {peer}", "does not match the link", "there"
    ),
    Row(5, f"{OPEN} {{server}}", "The only peer found sent data", "liar"),
    # The target exists.
    Row(6, f"{GET} -o {{folder}}/o", "already exists; remove it.* with -f", "there"),
    Row(6, f"{GET} -o {{folder}}/o --seed", "is not this share", "there"),
    Row(6, f"{GET} -o {{folder}}", "a folder is never replaced. Remove it", "there"),
    # The download is incomplete.
    Row(7, f"{OPEN} {{server}}", "Run this again to resume: shoal get", "halfway"),
    # The code is wrong.
    Row(8, "get {wrong_code} --peer {peer}", "The code is wrong; check", "coded"),
    # The disk is full.
    Row(9, f"{GET} -o {{folder}}/o", "disk is too full", "tiny"),
    Row(
        9,
        f"{GET} -o -",
        "disk that standard output writes to is full",
        "full_output",
        True,
    ),
    # Nothing is written to the disk.
    Row(0, f"{GET} -o -", "", "tiny", no_json=True),
    # Ended by a signal.
    Row(130, "share {file} --new-link", "Interrupted.", "interrupted"),
    Row(143, "share {file} --new-link", "Terminated.", "terminated"),
    Row(130, f"{GET} -o {{folder}}/o --limit-down 1K", "Run this again", "interrupted"),
    Row(143, f"{GET} -o {{folder}}/o --limit-down 1K", "Run this again", "terminated"),
]


class Setting:
    """Prepare a row, and clean up after it."""

    def __init__(self, names: dict[str, object], folder: Path, stack: ExitStack):
        self.names = names
        self.folder = folder
        self.stack = stack
        self.env: dict[str, str] = {}
        self.prefix: list[str] = []
        self.signum = 0

    def busy(self) -> None:
        words = [str(self.names[name]) for name in ("link", "peer")]
        args = ("-o", self.folder / "o", "--limit-down", "1K", "--json")
        first = run("get", words[0], "--peer", words[1], *args)
        self.stack.enter_context(first).wait_line('"start"')

    def taken(self) -> None:
        server = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.names["taken"] = server.getsockname()[1]

    def coded(self) -> None:
        program = self.stack.enter_context(share(self.names["file"], "--code"))
        self.names["wrong_code"] = mistyped(code_of(program))
        self.names["peer"] = peer_of(program)

    def nosuch0(self) -> None:
        self.env["SHOAL_INTERFACES"] = "nosuch0"

    def wrong_file(self) -> None:
        (self.folder / "config.toml").write_text("lan_only = true")
        self.env["SHOAL_CONFIG"] = str(self.folder / "config.toml")

    def unreadable(self) -> None:
        self.env["SHOAL_CONFIG"] = str(self.folder)

    def closed(self) -> None:
        self.folder.chmod(0o555)
        if os.geteuid() == 0:
            require(None if shutil.which("setpriv") else "setpriv is not installed")
            dropped = "--bounding-set=-dac_override,-dac_read_search"
            self.prefix = ["setpriv", dropped]

    def there(self) -> None:
        (self.folder / "o").write_bytes(b"something else")

    def liar(self) -> None:
        self._serve(lambda: FlipsABit(CONTENT))

    def halfway(self) -> None:
        self._serve(lambda: StopsHalfway(CONTENT, 10))

    def tiny(self) -> None:
        require(None if os.geteuid() == 0 else "only root may mount a small disk")
        require(None if shutil.which("unshare") else "unshare is not installed")
        mount = f'mount -t tmpfs -o size=100k tmpfs {self.folder} && exec "$@"'
        self.prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        self.env["TMPDIR"] = str(self.folder)

    def full_output(self) -> None:
        self.prefix = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]

    def interrupted(self) -> None:
        self.signum = signal.SIGINT

    def terminated(self) -> None:
        self.signum = signal.SIGTERM

    def _serve(self, make: Callable[[], FakeServer]) -> None:
        server = self.stack.enter_context(Background(make))
        self.names["server"] = server.address


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Share a file for all rows."""
    file = tmp_path_factory.mktemp("shared") / "file"
    file.write_bytes(bytes(200_000))
    with share(file) as program:
        link = link_of(program)
        yield {"file": file, "link": link, "peer": peer_of(program)}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.code} {row.command[:40]}")
def test_a_failure_has_its_code_and_message(
    row: Row, shared: dict[str, object], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        setting = Setting({**shared, "folder": tmp_path}, tmp_path, stack)
        if row.with_:
            getattr(setting, row.with_)()
        words = shlex.split(row.command.format(**setting.names))
        words += [] if row.no_json else ["--json"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
        program = stack.enter_context(
            Program(
                [*setting.prefix, sys.executable, "-m", "shoal", *words],
                env={**clean, **LOOPBACK, **setting.env},
            )
        )
        if setting.signum:
            program.wait_line('"start"', stream="out")
            program.send(setting.signum)
        ended = program.finish()
    assert ended.code == row.code, ended.stderr
    if row.code:
        assert re.search(row.message, ended.stderr.replace("\n", " ")), ended.stderr
        first, *more = ended.stderr.splitlines()
        assert first.startswith("shoal: ")
        # A banned peer has a line before, and the command to resume with one after.
        assert len(more) <= 1
        assert all(re.match("shoal: |Run this again", line) for line in more)
    else:
        assert ended.stderr == ""
    if not row.no_json:
        last = lines_of(ended.stdout)[-1]
        assert last["event"] == ("error" if row.code else "complete")
        assert last.get("code", 0) == row.code
        assert last.get("message", "") in ended.stderr


def test_the_table_has_every_exit_code() -> None:
    assert {row.code for row in TABLE} == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143}
