"""Messages about a share say in whole sentences what happened, and to which share."""

from pathlib import Path

import pytest

import shoal
from shoal.cli.output import Output
from shoal.cli.progress import Reporter
from shoal.cli.status import title_of
from shoal.core.report.events import CodeChanged, PeerComplete

ADDRESS = shoal.Address("192.0.2.7", 4001)


def output() -> Output:
    return Output(is_quiet=False, is_verbose=False, as_json=False, shows_progress=False)


def test_of_several_shares_the_one_is_named_that_a_peer_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for out in (output(), output().about(link="shoal:…")):
        with Reporter(out, "photos") as reporter:
            pass
        for number in (1, 2):
            reporter.on_event(PeerComplete(ADDRESS, number, 5, 5))
    assert capsys.readouterr().err.splitlines() == [
        "192.0.2.7:4001 has everything.",
        "192.0.2.7:4001 has everything. 2 peers have it now.",
        "192.0.2.7:4001 has all of photos.",
        "192.0.2.7:4001 has all of photos. 2 peers have it now.",
    ]


def test_paths_that_are_shared_together_are_named() -> None:
    parts = [Path("/a/one"), Path("/a/two"), Path("/a/three"), Path("/a/four")]
    assert title_of("a") == "a"
    assert title_of("a", parts[:2]) == "a (one, two)"
    assert title_of("a", parts) == "a (one, two, three and 1 more)"


@pytest.mark.parametrize(
    ("state", "left", "said"),
    [
        ("wrong", 2, "entered; after 2 more wrong codes, this code ends."),
        ("wrong", 1, "entered; after 1 more wrong code, this code ends."),
        ("given", 1, "has used the code; 1 more receiver can still use it."),
        ("given", 2, "has used the code; 2 more receivers can still use it."),
    ],
)
def test_what_is_left_of_a_code_is_said_in_a_sentence(
    state: str, left: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Reporter(output()).on_event(CodeChanged(state, left, left))
    assert said in capsys.readouterr().err
