"""The JSON lines of every command match `docs/json.md` and the recordings.

In `recordings/`, names replace the values that differ from run to run (links, ports,
folders, rates). To update them, run UPDATE_RECORDINGS=1 scripts/test with this file,
and read the difference like a user whose program reads these lines.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.cli.output import Output
from shoal.cli.progress import Reporter
from shoal.core.names.address import Address
from shoal.core.report.events import Hashing, Reachable, Stalled
from tests.helpers import commands
from tests.helpers.badpeers import FlipsABit
from tests.helpers.events import VARIANTS, lines_of, variant_of
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.process import Program
from tests.helpers.wire import Content

RECORDINGS = Path(__file__).parent / "recordings"
CONTENT = Content.make(50_000)
NOT_EVERYWHERE = ("memory", "buffers")  # checks that some machines do not have
Lines = list[dict[str, Any]]


def run(*words: object, cwd: Path | None = None) -> Program:
    """Start a command as the same user as all others."""
    env = {"XDG_DATA_HOME": os.environ["XDG_DATA_HOME"]}
    return commands.run(*words, cwd=cwd, env=env)


class Recorder:
    """Run commands in a folder and keep their output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, Lines] = {}

    def keep(self, name: str, program: Program, code: int) -> None:
        """Wait until a command ends, and keep its lines."""
        ended = program.finish()
        assert ended.code == code, ended.stderr
        self.said[name] = lines_of(ended.stdout)

    def run(self, name: str, code: int, *words: object) -> None:
        with run(*words, "--json", cwd=self.folder) as program:
            self.keep(name, program, code)

    def record(self) -> None:
        """Run all commands on a small folder and a small file."""
        model = self.folder / "model"
        (model / "sub").mkdir(parents=True)
        (model / "weights.bin").write_bytes(bytes(100_000))
        (model / "sub" / "run.sh").write_text("#!/bin/sh\n")
        (model / "sub" / "run.sh").chmod(0o755)
        with run("share", "model", "--json", cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            link, peer = start["link"], ("--peer", f"127.0.0.1:{start['port']}")
            self.run("info", 0, "info", link, *peer)
            self.run("ls", 0, "ls", link, *peer)
            self.run("get", 0, "get", link, *peer, "-o", "copy")
            self.run("verify", 0, "verify", link, "copy", *peer)
            with run("serve", link, *peer, "--json", cwd=self.folder) as gateway:
                gateway.wait_line('"start"', stream="out")
                gateway.send(signal.SIGINT)
                self.keep("serve", gateway, 130)
            self.run("get-exists", 6, "get", link, "-o", "copy", *peer)
            words = ("get", link, *peer, "-o", "seeded", "--seed-for", 1.5)
            self.run("get-seed-for", 0, *words)
            server.wait_line('"progress","uploaded"', stream="out")
            server.send(signal.SIGINT)
            self.keep("share", server, 130)
        self.record_many()
        self.record_remembered()
        self.record_background()
        self.record_once()
        self.record_code()
        self.record_open()
        self.run("doctor", 0, "doctor")
        self.run("usage", 2, "get")

    def record_many(self) -> None:
        with run("share", "model", "--json", cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            (self.folder / "links").write_text(f"# one\n{start['link']}\n")
            peer = f"127.0.0.1:{start['port']}"
            words = ("get", "-i", "links", "-C", "many")
            self.run("get-many", 0, *words, "--peer", peer)
        (self.folder / "links").write_text(CONTENT.id)
        self.run("get-many-failed", 7, *words, "--timeout", 0.2)

    def record_remembered(self) -> None:
        shutil.rmtree(self.folder / "seeded")
        words = ("share", "model", "--name", "slow", "--limit-up", 1, "--json")
        with run(*words, cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            peer = f"127.0.0.1:{start['port']}"
            args = (start["link"], "-o", "part", "--peer", peer, "--timeout", 2)
            with run("get", *args, cwd=self.folder) as program:
                assert program.finish().code == 7
        self.run("list", 0, "list")
        self.run("clean", 0, "clean")
        self.run("forget", 0, "forget", "copy")
        with run("seed", "--json", cwd=self.folder) as server:
            server.wait_line("seeded", stream="err")
            server.wait_line('"start"', stream="out", count=2)
            with run("forget", "many/model", cwd=self.folder) as program:
                assert program.finish().code == 0
            server.wait_line('"unlisted"', stream="out")
            server.send(signal.SIGINT)
            self.keep("seed", server, 130)
        self.record_service()

    def record_service(self) -> None:
        tool = self.folder / "systemctl"
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
        path = f"{self.folder}:{os.environ['PATH']}"
        env = {"PATH": path, "XDG_CONFIG_HOME": str(self.folder)}
        with commands.run("seed", "--install", "--json", env=env) as program:
            self.keep("seed-install", program, 0)

    def record_background(self) -> None:
        self.run("link", 0, "link", "model")
        self.run("share-background", 0, "share", "model", "--background")
        (_, complete) = self.said["share-background"]
        self.run("stop", 0, "stop", complete["pid"])
        shutil.copytree(self.folder / "model", self.folder / "changed")
        (self.folder / "changed" / "new").touch()
        (self.folder / "changed" / "weights.bin").write_bytes(bytes(100_001))
        link = self.said["link"][-1]["link"]
        self.run("verify-changed", 5, "verify", link, "changed")

    def record_once(self) -> None:
        words = ("share", "model", "--once", "--http", "127.0.0.1:0", "--json")
        with run(*words, cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            args = ("-o", "once", "--peer", f"127.0.0.1:{start['port']}")
            with run("get", start["link"], *args, cwd=self.folder) as program:
                assert program.finish().code == 0
            self.keep("share-once", server, 0)

    def record_code(self) -> None:
        words = ("share", "model", "--code", "--json")
        with run(*words, cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            peer = ("--peer", f"127.0.0.1:{start['port']}")
            wrong = commands.mistyped(start["code"])
            self.run("get-wrong-code", 8, "get", wrong, "-o", "coded", *peer)
            self.run("get-code", 0, "get", start["code"], "-o", "coded", *peer)
            server.wait_line('"used"', stream="out")
            server.send(signal.SIGINT)
            self.keep("share-code", server, 130)

    def record_open(self) -> None:
        (self.folder / "file").write_bytes(CONTENT.data)
        words = ("share", "file", "--open", "--json")
        with run(*words, cwd=self.folder) as server:
            start = json.loads(server.wait_line('"start"', stream="out").string)
            peer = f"127.0.0.1:{start['port']}"
            self.run("get-open", 0, "get", start["id"], "-o", "o", "--peer", peer)
            server.send(signal.SIGTERM)
            self.keep("share-open", server, 143)
        with Background(lambda: FlipsABit(CONTENT)) as liar:
            args = (CONTENT.id, "-o", "x", "--peer", liar.address, "--timeout", 2)
            self.run("get-lied-to", 5, "get", *args)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lines]:
    recorder = Recorder(tmp_path_factory.mktemp("recorded"))
    recorder.record()
    return recorder.said


def _plain(lines: Lines) -> Iterator[str]:
    """Yield lines without the values that differ from run to run."""
    for line in lines:
        if line["event"] == "progress" and line is not _last_progress(lines):
            continue
        if line.get("state") == "connected":
            continue  # reported once a second
        if line["event"] == "check":
            if line["name"] in NOT_EVERYWHERE:
                continue
            line = {**line, "state": "STATE", "found": "FOUND", "advice": "ADVICE"}
        plain = {"rate": 0, "port": 0, "checks": 0, "notes": 0, "pid": 0}
        if line["event"] == "progress":
            plain["uploaded"] = 0  # reported once a second
        if line["event"] == "unfinished" or "downloads" in line:
            plain["size"] = 0  # with the journal, which varies
        line = {name: plain.get(name, value) for name, value in line.items()}
        text = json.dumps(line, ensure_ascii=False)
        text = re.sub(r"shoal:[a-z2-7]{56}", "LINK", text)
        text = re.sub(r'"\d{4}(-[a-z]+){3}"', '"CODE"', text)
        text = re.sub(r"/[^\" ]*/recorded\d+/", "FOLDER/", text)
        text = re.sub(r"chunk \d+ did", "chunk N did", text)
        text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
        text = re.sub(r"ADDRESS/[\w-]+/", "ADDRESS/TOKEN/", text)
        yield text


def _last_progress(lines: Lines) -> dict[str, Any] | None:
    """Return the last progress of a download.

    Uploads are reported once a second, so perhaps not before the end.
    """
    found = [each for each in lines if each["event"] == "progress" and "done" in each]
    return found[-1] if found else None


NAMES = sorted(path.stem for path in RECORDINGS.glob("*.ndjson"))


def test_every_command_is_recorded(said: dict[str, Lines]) -> None:
    if os.environ.get("UPDATE_RECORDINGS"):
        RECORDINGS.mkdir(exist_ok=True)
        for name, lines in said.items():
            text = "".join(f"{line}\n" for line in _plain(lines))
            (RECORDINGS / f"{name}.ndjson").write_text(text)
    assert NAMES == sorted(said)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_prints_its_recorded_lines(name: str, said: dict[str, Lines]) -> None:
    recorded = (RECORDINGS / f"{name}.ndjson").read_text().splitlines()
    lines = list(_plain(said[name]))
    # The order of joining and leaving peers is not fixed.
    assert sorted(set(lines)) == sorted(set(recorded))
    assert lines[-1] == recorded[-1]


def test_every_documented_kind_of_line_is_recorded(
    said: dict[str, Lines], capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(is_quiet=False, is_verbose=False, as_json=True, shows_progress=True)
    reporter = Reporter(output, "x")
    # These events take longer than a test, or a router.
    reporter.on_event(Stalled(20.0, "nobody answers.", "silent"))
    reporter._since = -1e9
    reporter.on_event(Hashing(1, 2))
    output.notice(Reachable("", Address("203.0.113.9", 4001), "PCP"))
    slow = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(slow) == 3
    lines = [*slow, *(line for lines in said.values() for line in lines)]
    assert {variant_of(line) for line in lines} == set(VARIANTS)


def test_an_undocumented_line_is_noticed() -> None:
    error: dict[str, Any] = {"v": 1, "event": "error", "code": 1, "message": "No."}
    assert variant_of(error).event == "error"
    wrong = ({"more": 1}, {"code": "1"}, {"event": "e"}, {"v": 2}, {"message": ""})
    for change in wrong:
        with pytest.raises(AssertionError):
            variant_of(error | change)


def test_a_name_that_is_not_unicode_is_written_as_json(tmp_path: Path) -> None:
    target = tmp_path / "o\udcff"
    with Background(lambda: FakeServer(CONTENT)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--json")
        with run("get", *args) as program:
            ended = program.finish()
    assert lines_of(ended.stdout)[-1]["event"] == "complete", ended.stderr
    assert target.read_bytes() == CONTENT.data
