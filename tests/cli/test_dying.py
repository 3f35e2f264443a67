"""A command that shares ends with the error of its share."""

from pathlib import Path

import pytest

from shoal.cli import run
from tests.helpers.broken_discovery import break_discovery


@pytest.mark.parametrize("words", [[], ["--once"], ["--open", "a-name"]])
def test_share_ends_with_the_error_of_its_search_for_peers(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SHOAL_INTERFACES", "lo")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    break_discovery(monkeypatch)
    (tmp_path / "file").write_bytes(b"content")
    assert run(["share", str(tmp_path / "file"), *words]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("shoal: This is a bug in shoal: UnicodeError: label empty")
