"""Options that cannot mean anything together are refused, each with its reason."""

import io
from pathlib import Path

import pytest

import shoal
from shoal.cli import run
from shoal.config.arguments import ShareOptions
from shoal.config.combinations import _ROWS, Case
from shoal.config.options import OPTIONS
from shoal.errors import UsageError
from tests.helpers.fetching import here

LINK = "shoal:" + "a" * 56

REFUSED = {
    "share x -q -v": "-q and -v are opposites",
    "list -v -q": "-q and -v are opposites",
    "get x -o y --lan-only --dht-bootstrap 127.0.0.1:1": "does not use the DHT",
    "share - --name x --include y": "--include is for the files of a folder",
    "share - --name x --exclude y": "--exclude is for the files of a folder",
    "share - --name x --follow-symlinks": "--follow-symlinks is for the files of a",
    "share - --name x --open": "An open channel shares a file; name it in place",
    "share x --public --new-link": "and --new-link gives a new one; use one of",
    "share x --code-for 1h": "--code-for needs a code; add --code.",
    "share x --json --qr": "--qr draws for people, and --json is for programs",
    "share x --open --relay a:1": "--relay is not for open channels",
    "share x --open --once 2": "--once is not for open channels",
    "get team -o x --keep-exec": "--keep-exec is not for open channels",
    "chunk team 0 --origin http://a/": "--origin is not for open channels",
    "get team -o x -C y": "-o names the target and -C its folder",
    "get team -i x": "-i reads the links from a file; leave out LINK",
    "get -i x -o y": "-o names the target of one link; with -i, use -C",
    "get 4821-purity-carbon-olympic x --include y": "names one file; leave out --incl",
    "get team -o - --json": "-o - writes only the bytes of the file; leave out --json",
    "get team -o - --seed-for 1": "-o - writes only the bytes of the file; leave out",
    "get team -o - -f": "-o - writes to standard output, and -f is for files",
    "seed --install --uninstall": "--install and --uninstall are opposites",
    "seed --uninstall --port 1": "whatever its options; leave out --port",
    "seed --install --http foo": "--http: 'foo' is not HOST:PORT",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LAN_ONLY", "NO_LAN"):
        monkeypatch.setenv(f"SHOAL_{name}", "1")
    monkeypatch.setenv("SHOAL_INTERFACES", "lo")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed", REFUSED)
def test_what_means_nothing_together_is_refused_with_the_reason(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert REFUSED[typed] in line


@pytest.mark.parametrize(
    ("typed", "variables"),
    [
        (f"link {__file__}", {"NEW_LINK": "1"}),
        ("get team -o x --timeout 0.1", {"ORIGIN": "http://a/", "KEEP_EXEC": "1"}),
        (f"link {__file__}", {"QR": "1", "JSON": "1"}),
        (f"link {__file__} --public -v", {"QUIET": "1"}),
        ("list", {"PEER": "a:1", "ORIGIN": "http://a/", "RELAY": "a:1"}),
    ],
)
def test_a_variable_that_means_nothing_here_has_no_effect(
    typed: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SHOAL_{name}", value)
    code = 3 if typed.startswith("get") else 0  # no peer has it
    assert run(typed.split()) == code


def test_one_of_two_opposites_replaces_the_other_if_that_is_in_a_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_QUIET", "1")
    assert run(["clean"]) == 0
    assert capsys.readouterr().err == ""
    assert run(["clean", "-v"]) == 0
    assert "There is no unfinished download." in capsys.readouterr().err


def test_bytes_and_events_do_not_mix_even_if_a_variable_asks_for_events(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_JSON", "1")
    assert run(["get", "team", "-o", "-"]) == 2
    assert "leave out --json" in capsys.readouterr().err


def test_each_row_of_the_table_names_options_that_exist() -> None:
    known = {option.name for option in OPTIONS}
    for row in _ROWS:
        assert set(row.names) <= known
        assert isinstance(row.where, Case) or row.where.removeprefix("no ") in known


def test_python_callers_get_the_same_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="code_for needs a code; pass code=True"):
        ShareOptions.of(code_for=60)
    with pytest.raises(UsageError, match="the argument new_link gives a new one"):
        ShareOptions.of(public=True, new_link=True)
    monkeypatch.setenv("SHOAL_CODE_FOR", "60")
    assert ShareOptions.of().code_for == 60


async def test_an_open_file_cannot_have_the_options_of_folders() -> None:
    async with shoal.Node(here()) as node:
        for options in ({"include": "x"}, {"follow_symlinks": True}):
            with pytest.raises(UsageError, match="is for the files of a folder"):
                await node.share(io.BytesIO(b"x"), name="x", **options)
