"""The JSON lines that programs read."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.badpeers import FlipsABit
from tests.helpers.commands import run
from tests.helpers.fakeserver import Background, FakeServer
from tests.helpers.wire import Content

CONTENT = Content.make(50_000)
EVENTS = {"start", "peer", "progress", "file", "stalled", "complete", "error"}


def _lines(stdout: bytes) -> list[dict[str, Any]]:
    """Check what every JSON line promises; return them."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]
    assert all(line["v"] == 1 and line["event"] in EVENTS for line in lines)
    return lines


def test_json_tells_a_download_from_start_to_complete(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with Background(lambda: FakeServer(CONTENT)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--json")
        with run("get", *args) as program:
            ended = program.finish()
    lines = _lines(ended.stdout)
    assert (ended.code, ended.stderr) == (0, "")
    start = next(line for line in lines if line["event"] == "start")
    assert (start["size"], start["chunks"]) == (len(CONTENT.data), CONTENT.count)
    assert (start["resumed"], start["verified"]) == (0, True)
    assert [e for e in lines if e["event"] == "peer"][0]["state"] == "joined"
    assert lines[-1]["event"] == "complete"
    assert lines[-1]["path"] == str(target)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["get", "0" * 64, "-o", "out", "--timeout", "0.3", "--json"], 3),
        (["--json", "get", "0" * 64, "-o", "out", "--timeout", "0.3"], 3),
        (["get", "", "-o", "out", "--json"], 2),
        (["share", "nofile", "--json"], 1),
        (["share", "--json"], 2),
    ],
)
def test_json_ends_in_the_error_that_ended_the_command(
    words: list[str], code: int, tmp_path: Path
) -> None:
    with run(*words, cwd=tmp_path) as program:
        ended = program.finish()
    last = _lines(ended.stdout)[-1]
    assert (ended.code, last["event"], last["code"]) == (code, "error", code)
    assert last["message"] in ended.stderr


def test_json_names_a_liar(tmp_path: Path) -> None:
    with Background(lambda: FlipsABit(CONTENT)) as liar:
        target = tmp_path / "out"
        args = (CONTENT.id, "-o", target, "--peer", liar.address, "--timeout", 1)
        with run("get", *args, "--json") as program:
            ended = program.finish()
    lines = _lines(ended.stdout)
    assert ended.code == 5
    assert any(line.get("state") == "banned" for line in lines)
    assert lines[-1]["event"] == "error"


def test_a_name_that_is_no_text_can_be_told_as_json(tmp_path: Path) -> None:
    target = tmp_path / "o\udcff"
    with Background(lambda: FakeServer(CONTENT)) as server:
        args = (CONTENT.id, "-o", target, "--peer", server.address, "--json")
        with run("get", *args) as program:
            ended = program.finish()
    assert _lines(ended.stdout)[-1]["event"] == "complete", ended.stderr
    assert target.read_bytes() == CONTENT.data
