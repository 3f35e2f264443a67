"""Attacks on a user who pastes a link that is quoted, changed or broken.

A neighbour answers for the name of any open channel with its own bytes. The link must
be used, or be refused; the neighbour's bytes must never arrive.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tests.helpers.commands import link_of, peer_of, run, share, share_open

__all__ = ["MISREAD"]

RIGHT, WRONG = b"from the share", b"from a neighbour"
Change = Callable[[str], str]


def _used(change: Change, folder: Path) -> None:
    """A link in this form is found; the share's bytes arrive."""
    code, said, got = _get(change, folder)
    assert (code, got) == (0, RIGHT), (code, said, got)


def _refused(change: Change, folder: Path) -> None:
    """What only looks like a link is refused with exit code 2 and one sentence."""
    code, said, got = _get(change, folder)
    assert (code, got) == (2, None), (code, said, got)
    assert len(said.splitlines()) == 1, said
    assert "ink" in said or "code" in said, said


def _get(change: Change, folder: Path) -> tuple[int, str, bytes | None]:
    (folder / "right").write_bytes(RIGHT)
    (folder / "wrong").write_bytes(WRONG)
    out = folder / "out"
    with share(folder / "right") as sharer, share_open(folder / "wrong", "any") as liar:
        peers = ("--peer", peer_of(liar), "--peer", peer_of(sharer))
        text = change(link_of(sharer))
        with run("get", text, "-o", out, "--timeout", 10, *peers) as program:
            ended = program.finish(30)
    return ended.code, ended.stderr, out.read_bytes() if out.exists() else None


def name_is_announced(folder: Path) -> None:
    """What is no link is a channel, and that is the first thing said."""
    (folder / "wrong").write_bytes(WRONG)
    with share_open(folder / "wrong", "any") as liar:
        for args in (("get", "news", "-o", folder / "out"), ("chunk", "news", 0)):
            with run(*args, "--peer", peer_of(liar)) as program:
                ended = program.finish(30)
            first = ended.stderr.splitlines()[0]
            assert "open channel" in first, first
            assert "neither encrypted nor verified" in first, first


_LOOK_ALIKES = {"s": "\u0455", "h": "\u04bb", "o": "\u043e", "a": "\u0430"}

MISREAD: dict[str, Callable[[Path], None]] = {
    "link_in_quotes": partial(_used, lambda link: f'"{link}"'),
    "link_in_curly_quotes": partial(_used, lambda link: f"\u201c{link}\u201d."),
    "link_in_angle_brackets": partial(_used, lambda link: f"<{link}>"),
    "link_of_a_web_handler": partial(_used, lambda link: f"web+{link}"),
    "link_with_a_slash": partial(_used, lambda link: link[6:] + "/"),
    "link_percent_encoded": partial(_used, lambda link: quote(link, safe="")),
    "link_of_another_alphabet": partial(
        _refused, lambda link: "".join(_LOOK_ALIKES.get(c, c) for c in link[:6]) + "x"
    ),
    "link_cut_short": partial(_refused, lambda link: link[6:-2]),
    "link_mistyped": partial(_refused, lambda link: link[6:20] + "0" + link[21:]),
    "link_broken_in_two": partial(_refused, lambda link: link[6:30] + " " + link[30:]),
    "code_without_gaps_cut_short": partial(_refused, lambda link: "4821puritycarb"),
    "code_without_its_last_word": partial(_refused, lambda link: "4821-purity-carbon"),
    "name_is_announced": name_is_announced,
}
"""All cases by name; each is given an empty folder."""
