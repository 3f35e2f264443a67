"""In a log, a plain line says every ten seconds what a command does."""

import os
import pty

import pytest

from shoal.cli.live import LINE_PERIOD, LogLine
from shoal.cli.output import USUAL_SIZE, Output, size_of_terminal
from shoal.cli.status import Fact, Status

STATUS = Status("photos", (Fact(1, "52 %"), Fact(2, "47.1 MiB/s")), 0.52)


def test_a_log_gets_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("shoal.cli.live.time.monotonic", lambda: clock[0])
    output = Output(
        is_quiet=False, is_verbose=False, as_json=False, shows_progress=True
    )
    line = LogLine(output)
    lines: list[int] = []
    for clock[0] in (0.0, 9.9, LINE_PERIOD, 15.0, 2 * LINE_PERIOD):
        line.show(STATUS)
        lines.append(len(capsys.readouterr().err.splitlines()))
    assert lines == [0, 0, 1, 0, 1]
    clock[0] = 100.0
    line.show(STATUS._replace(is_logged=False))
    assert capsys.readouterr().err == ""
    line.show(STATUS)
    assert capsys.readouterr().err == "photos: 52 %, 47.1 MiB/s\n"


def test_a_terminal_that_does_not_tell_its_size_has_the_usual_one() -> None:
    master, slave = pty.openpty()
    try:
        assert os.get_terminal_size(slave) == (0, 0)
        assert size_of_terminal(slave) == USUAL_SIZE
    finally:
        os.close(master)
        os.close(slave)
