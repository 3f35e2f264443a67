"""Options may stand before the command, and messages say what is mistyped."""

import click
import pytest

from shoal.cli import cli, run
from shoal.cli.options import options_behind_command, settle_counts
from shoal.config.nearest import nearest
from shoal.config.options import NETWORK
from tests.helpers.codes import LINK

STAY_LOCAL = ("SHOAL_LAN_ONLY", "SHOAL_NO_LAN")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STAY_LOCAL:
        monkeypatch.setenv(name, "1")


@pytest.mark.parametrize(
    ("typed", "settled"),
    [
        ("share --once photos", "share --once=1 photos"),
        ("share --once 3 photos", "share --once=3 photos"),
        ("share photos --once", "share photos --once=1"),
        ("--once share photos", "--once=1 share photos"),
        ("share photos --once -1", "share photos --once=-1"),
        ("share --once=2 -- --once", "share --once=2 -- --once"),
    ],
)
def test_an_option_that_may_lack_its_number_takes_no_path(
    typed: str, settled: str
) -> None:
    assert settle_counts(typed.split()) == settled.split()


def _reorder(text: str) -> str:
    return " ".join(options_behind_command(text.split()))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("get x", "get x"),
        ("-q get x -v", "get -q x -v"),
        ("--peer get get x", "get --peer get x"),
        ("--peer=a:1 --json get x", "get --peer=a:1 --json x"),
        ("-qv get x", "get -qv x"),
        ("-o share get x", "get -o share x"),
        ("-oshare get x", "get -oshare x"),
        ("-qo share get x", "get -qo share x"),
        ("--seed --timeout 5 get x", "get --seed --timeout 5 x"),
        ("--chunk-size 1M share x", "share --chunk-size 1M x"),
        ("-q --version", "--version"),
        ("-q -h get", "-h"),
        ("-- get x", "-- get x"),
        ("- x", "- x"),
        ("-q --json", ""),
        ("--peer", ""),
        ("", ""),
    ],
)
def test_options_may_stand_before_the_command(typed: str, meant: str) -> None:
    assert _reorder(typed) == meant


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("gett x", "There is no command gett; did you mean get?"),
        ("Verfy x", "There is no command Verfy; did you mean verify?"),
        ("frobnicate", "There is no command frobnicate. See shoal --help."),
        (
            "get --lan-onyl x",
            "no option --lan-onyl; did you mean --lan-only? See shoal",
        ),
        ("--lan-onyl get x", "no option --lan-onyl; did you mean --lan-only?"),
        ("--seeed get x", "no option --seeed; did you mean --seed?"),
        ("share x --onec", "no option --onec; did you mean --once?"),
        ("chunk --tmeout 3 x 1", "no option --tmeout; did you mean --timeout?"),
        ("chunk x -1", "'-1' is not an index; write a number from 0 on."),
        ("get x --bogus", "There is no option --bogus. See shoal get --help."),
        ("get x --output y", "no option --output; did you mean --out?"),
        ("get -z x", "There is no option -z. See shoal get --help."),
        ("get", "Missing argument 'LINK'. See shoal get --help."),
        ("get x y", "y is one argument too many: the path of a file may follow"),
        ("get x --peer", "requires an argument."),
        ("stop x", "x is neither a link nor a process id; write"),
        (f"share x --port {'9' * 5000}", "999' is not a port; write a number"),
        (f"share x --once {'9' * 5000}", "999' is not a number from 1 to"),
        ("share x --once 00", "--once: '00' is not a number from 1 to"),
        ("share x --once 0", "--once: '0' is not a number from 1 to 65,536; correct"),
        ("list --peer a:1", "shoal list has no option --peer; leave it out. See shoal"),
        ("get x --once", "shoal get has no option --once; leave it out."),
        ("share x --port 70000", "--port: '70000' is not a port; write a number"),
        ("-q", "Name a command."),
        ("share f --recursive", "includes its subfolders; leave out --rec"),
        ("get team -r", "leave out -r. See shoal get"),
        ("completion", "Name your shell: shoal completion bash, shoal"),
        ("completion tcsh", "Name your shell"),
        ("share f --chunk-size x", "'x' is not a size"),
        ("get t -o o --seed-for 1x", "'1x' is not a length of time; write seconds, or"),
        ("get t -o o --limit-down 1.5X", "64K, 1.5M, 2G."),
        ("get t -o o --timeout 0", "--timeout"),
        ("get t -o o --timeout soon", "--timeout"),
        ("get t -o o --peer foo", "write it as HOST:PORT"),
        ("get t -o o --peer a..b:1", "'a..b' is not a host name"),
        ("chunk team", "LINK INDEX"),
        ("chunk team x", "'x' is not an index"),
        ("chunk team 99999999999", "is not an index"),
        ("chunk team ٣", "not an index"),
    ],
)
def test_the_message_says_what_is_mistyped(
    typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("shoal: ")
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", ["share", "link", "get", "cat", "verify", "stop"])
def test_a_missing_argument_is_named(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name]) == 2
    said = capsys.readouterr().err
    assert said.startswith("shoal: Missing argument '")
    assert said.endswith(f" See shoal {name} --help.\n")


@pytest.mark.parametrize("typed", ["--version", "get --version", "-q --version ls"])
def test_every_command_has_the_option_version(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split()) == 0
    assert capsys.readouterr().out.startswith("shoal 0.")


def test_no_word_is_suggested_if_none_is_similar() -> None:
    assert nearest("gte", ["get", "share"]) == "; did you mean get?"
    assert nearest("zzz", ["get", "share"]) == "."


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_every_command_has_the_output_options(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = {option for each in command.params for option in each.opts}
    promised = "-q -v --json --no-progress --color --version"
    assert set(promised.split()) <= known
    network = "--peer --port --lan-only --no-lan --dht-bootstrap"
    assert (set(network.split()) <= known) == (name in NETWORK)


@pytest.mark.parametrize("name", ["get", "cat", "verify"])
def test_an_empty_path_is_refused_before_peers_are_looked_for(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, str(LINK), ""]) == 2
    assert capsys.readouterr().err.startswith("shoal: PATH is empty; name a file")
