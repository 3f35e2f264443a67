"""Arguments of the wrong type are refused, and objects describe themselves."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import shoal
from tests.helpers.fetching import here

LINK = shoal.Link(bytes(32))
WRONG: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a path": ("int", lambda n: n.share(5)),
    "a callback": ("on_progress", lambda n: n.share("x", on_progress=5)),
    "a fetch's callback": ("on_progress", lambda n: n.fetch(LINK, on_progress=5)),
    "a link": ("link must be str or Link, not int", lambda n: n.fetching(5)),
    "a link to open": ("link must be", lambda n: n.open(b"shoal:x")),
    "a path to open": ("path must be str, not int", lambda n: n.open(LINK, 5)),
    "a path to describe": ("path must be str", lambda n: n.stat(LINK, 5)),
    "a folder": ("folder must be str", lambda n: n.list(LINK, 5)),
    "a timeout": ("timeout must be int or float", lambda n: n.open(LINK, timeout="x")),
    "an index": ("index must be int, not str", lambda n: n.fetch_chunk(LINK, "0")),
    "a share": ("share must be str or Channel", lambda n: n.fetch_chunk(5, 0)),
    "no share": ("share must be .*, not NoneType", lambda n: n.fetch_chunk(None, 0)),
    "no code": ("code must be str, not NoneType", lambda n: n.redeem(None)),
    "no channel": ("channel must be str or", lambda n: n.fetch_open(None, "x")),
    "no channel to read": ("channel must be", lambda n: n.stream_open(None)),
    "a target": ("out must be str or PathLike, not int", lambda n: n.fetch(LINK, 5)),
    "a file in it": ("path must be str, not int", lambda n: n.fetch(LINK, path=5)),
    "an entry": ("entry must be Entry, not int", lambda n: n.seed(5)),
    "a copy": ("path must be str or PathLike", lambda n: n.verify(LINK, 5)),
    "a count": ("receivers must be int", lambda n: n.share("x", receivers="2")),
    "a file": ("path must be str or PathLike", lambda n: n.share_open(5)),
    "a channel": ("channel must be str or Channel", lambda n: n.share_open("x", 5)),
    "its target": ("target must be str or Path", lambda n: n.fetch_open("x", 5)),
    "its flag": ("overwrite must be", lambda n: n.fetch_open("x", "y", overwrite="z")),
    "patterns": (
        "include: it must be str, or a list of such, not int",
        lambda n: n.share("x", include=5),
    ),
    "a pattern": (
        "include: it must be str, not int",
        lambda n: n.share("x", include=[5]),
    ),
    "a flag": ("seed: it must be bool, not list", lambda n: n.fetching(LINK, seed=[])),
    "a size": ("chunk_size: it must be int or", lambda n: n.share("x", chunk_size=1.5)),
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_argument_of_the_wrong_type_is_a_type_error(name: str) -> None:
    message, call = WRONG[name]
    async with shoal.Node(here()) as node:
        with pytest.raises(TypeError, match=message):
            await call(node)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"port": "x"}, "port: 'x' is not a port"),
        ({"port": 65_536}, "port: 65536 is not a port; write a number up to 65535"),
        ({"lan_only": "x"}, "lan_only: it must be bool, not str"),
        ({"port": [1]}, "port: it must be int or str, not list"),
        ({"port": True}, "port: it must be int or str, not bool"),
        ({"peers": 5}, "peers: it must be str or Address, or a list of such, not int"),
        ({"peers": [5]}, "peers: it must be str or Address, not int"),
        ({"limit_up": []}, "limit_up: it must be int or float or str, not list"),
        ({"settings": 5}, "settings must be Settings, not int"),
    ],
)
def test_a_setting_of_the_wrong_type_is_a_type_error(
    settings: dict[str, Any], message: str
) -> None:
    error = shoal.UsageError if settings.get("port") in ("x", 65_536) else TypeError
    with pytest.raises(error, match=message):
        shoal.Node(**settings)


def test_one_address_is_as_good_as_a_list() -> None:
    address = shoal.Address("192.0.2.7", 4001)
    assert shoal.Settings.of(peers=address).peers == (address,)


@pytest.mark.parametrize("call", [shoal.fetch, shoal.open, shoal.parse_link])
def test_a_text_that_is_no_link_is_refused_in_words_of_python(
    call: Callable[[str], Any],
) -> None:
    for text in ("notalink", ""):
        with pytest.raises(shoal.UsageError, match=r"the one that share\(\) returned"):
            call(text)


@pytest.mark.parametrize("parse", [shoal.parse_link, shoal.parse_channel])
def test_what_is_parsed_is_text(parse: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="text must be str, not int"):
        parse(5)


@pytest.mark.parametrize("call", [shoal.fetch, shoal.share])
def test_a_callback_is_checked_before_anything_begins(call: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="on_progress must be callable, not int"):
        call(LINK, on_progress=5)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", shoal.UsageError, "The path is empty; name a file or folder"),
        (["a", ""], shoal.UsageError, "The path is empty"),
        (b"notes.txt", TypeError, "path must be str or PathLike, not bytes"),
    ],
)
async def test_a_path_that_names_nothing_is_refused(
    path: Any, error: type[Exception], message: str
) -> None:
    async with shoal.Node(here()) as node:
        with pytest.raises(error, match=message):
            await node.share(path)


async def test_nodes_and_shares_describe_themselves(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(bytes(2048))
    node = shoal.Node(here())
    assert repr(node) == "<Node, open, serving 0 shares>"
    share = await node.share(file)
    assert repr(node) == "<Node, open, serving 1 share>"
    about = f"'notes.txt' (2.0 KiB), served on port {share.port}"
    assert repr(share) == f"<SealedShare of {about}>"
    opened = await node.share_open(file, "team")
    assert repr(opened) == f"<OpenShare of 'team', served on port {opened.port}>"
    await node.aclose()
    assert repr(node) == "<Node, closed>"
    await share.leave()
    assert "(2.0 KiB), left on port" in repr(share)
    assert share.link not in repr(share)
    assert isinstance(share.link, str)


async def test_link_returns_what_sharing_the_path_returns(
    tmp_path: Path,
) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(bytes(2048))
    events: list[shoal.ShareEvent] = []
    async with shoal.Node(here()) as node:
        link, manifest = await node.link(file, on_progress=events.append)
        await asyncio.sleep(0)
        assert repr(node) == "<Node, open, serving 0 shares>"
        assert events[-1] == shoal.Hashing(2048, 2048)
        share = await node.share(file)
    assert (share.link, share.manifest.id) == (link, manifest.id)
