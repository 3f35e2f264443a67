"""A folder's page has plain links, and names are escaped."""

import tracemalloc
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from time import time
from urllib.parse import unquote, urljoin

import pytest
from aiohttp import web

import shoal
from shoal.core.manifest.listing import Child, children, in_natural_order
from shoal.core.manifest.manifest import Manifest
from shoal.gateway import files, shares
from shoal.gateway.files import FolderEntry, folder_page
from shoal.gateway.server import Gateway
from tests.helpers.fetching import here
from tests.helpers.gateway import curl, get, serving
from tests.helpers.holder import Holder, make_holding

NAMES = ["a b.txt", "a/b/c.txt", "a/b/d.txt", "a/e.txt", "b&amp;'.txt", "n#m;.txt"]
NAMES = sorted([*NAMES, "zoë/ü%20.txt", "~.txt"])
DATA = "".join(NAMES).encode()
FOLDER = make_holding(
    DATA, name="things", files=[(name, len(name.encode()), False) for name in NAMES]
)


class _Links(HTMLParser):
    """Collect the links, elements and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


async def crawl(gateway: Gateway) -> dict[str, bytes]:
    """Follow every link in the folders as a browser would; return the files."""
    seen: set[str] = set()
    found: dict[str, bytes] = {}
    top = gateway.url + "files/"
    todo = [f"{top}{share.number}/" for share in gateway.shares]
    while todo:
        url = todo.pop()
        # Links above the folders lead to the main page, which has its own tests.
        if url in seen or not url.startswith(top):
            continue
        seen.add(url)
        answer = await curl(url)
        assert answer.status == 200, url
        if answer.headers["content-type"].startswith("text/html"):
            todo += [urljoin(url, link) for link in _Links(answer.body.decode()).links]
        else:
            found[url.removeprefix(gateway.url)] = answer.body
    return found


async def test_following_links_finds_every_file() -> None:
    single = make_holding(3000, name="one file.bin")
    async with Holder(FOLDER) as holder, Holder(single) as other:
        async with serving(holder, other) as gateway:
            found = await crawl(gateway)
    assert len(found) == len(NAMES) + 1
    bodies = set(found.values())
    assert bodies == {name.encode() for name in NAMES} | {
        b"".join(single.chunk(index) for index in range(single.chunks.count))
    }


async def test_a_folders_url_without_a_slash_redirects() -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        top = f"/{gateway.token}/files/0"
        for path in ("", "/a", "/a/b", "/zo%C3%AB"):
            answer = await curl(f"{gateway.url}files/0{path}")
            assert (answer.status, answer.headers["location"]) == (301, f"{top}{path}/")
            assert (await curl(f"{gateway.url}files/0{path}/", "-I")).status == 200
        assert (await get(gateway, "files/1")).status == 404
        whole = gateway.url.rstrip("/")
        assert (await curl(whole)).headers["location"] == f"/{gateway.token}/"


async def test_a_folders_page_is_a_listing_that_programs_recognize() -> None:
    before = int(time())
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        top = await get(gateway, "files/0/")
        inner = await get(gateway, "files/0/zo%C3%AB/")
        below = await get(gateway, "files/0/a/b/")
        file = await get(gateway, "files/0/a/e.txt")
    # Names in a URL have no quotes, so no `&` needs to be written as an entity.
    quoted = ["a%20b.txt", "a/", "b%26amp%3B%27.txt", "n%23m%3B.txt", "zo%C3%AB/"]
    assert sorted(_Links(top.body.decode()).links) == sorted([*quoted, "~.txt"])
    assert _Links(below.body.decode()).links == ["../", "c.txt", "d.txt"]
    title = f"<title>Index of /{gateway.token}/files/0/zoë/</title>"
    assert title in inner.body.decode()
    date = parsedate_to_datetime(file.headers["last-modified"])
    assert before <= date.timestamp() <= time()
    assert {each.headers["last-modified"] for each in (top, inner, below, file)} == {
        file.headers["last-modified"]
    }
    shown = f"{date:%d-%b-%Y %H:%M}"
    assert f">c.txt</bdi></a><td>{shown}<td>9\n" in below.body.decode()


async def test_a_file_that_a_client_has_is_not_sent_again() -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        date = (await get(gateway, "files/0/a/e.txt", "-I")).headers["last-modified"]
        line = f"If-Modified-Since: {date}"
        answer = await get(gateway, "files/0/a/e.txt", "-H", line)
        assert (answer.status, answer.body) == (304, b"")
        line = "If-Modified-Since: Tue, 01 Jan 1980 00:00:00 GMT"
        assert (await get(gateway, "files/0/a/e.txt", "-H", line)).status == 200
        line = f"If-Modified-Since: Tue, 01 Jan {'9' * 20} 00:00:00 GMT"
        assert (await get(gateway, "files/0/a/e.txt", "-H", line)).status == 200
        line = "If-Unmodified-Since: Tue, 01 Jan 1980 00:00:00 GMT"
        assert (await get(gateway, "files/0/a/e.txt", "-H", line)).status == 412


async def test_an_unknown_path_is_not_found() -> None:
    async with Holder(FOLDER) as holder, serving(holder) as gateway:
        for path in ("nosuch/", "a/nosuch", "~.txt/", "a/e.txt/", "a/b/c.txt/x", "A/"):
            assert (await get(gateway, f"files/0/{path}")).status == 404
        assert (await get(gateway, "files/0/a/", "-I")).status == 200


async def test_the_page_is_served_before_any_peer_has_the_share() -> None:
    link = make_holding(1).link
    async with (
        shoal.Node(here()) as node,
        Gateway(node, [link], timeout=0.1) as gateway,
    ):
        answer = await curl(gateway.url)
        assert answer.status == 200
        assert b"Waiting for a peer" in answer.body
        answer = await get(gateway, "files/0/data")
        assert answer.status == 504
        assert b"0.1 s" in answer.body


async def test_the_first_page_names_the_files_although_no_peer_had_answered() -> None:
    async with Holder(FOLDER) as holder, shoal.Node(here([holder.address])) as node:
        async with Gateway(node, [FOLDER.link]) as gateway:
            assert gateway.shares[0].manifest is None
            assert b"files/0/a/" in (await curl(gateway.url)).body


async def test_a_listing_of_an_unknown_share_says_when_to_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "KNOWING_TIME", 0.1)
    link = make_holding(1).link
    async with shoal.Node(here()) as node, Gateway(node, [link]) as gateway:
        answer = await get(gateway, "files/0/")
        assert (answer.status, answer.headers["retry-after"]) == (504, "5")
        assert b"0.1 s" in answer.body
        assert (await curl(gateway.url)).status == 200


def test_a_name_is_never_parsed_as_markup() -> None:
    evil = '<script>alert("1")</script>\'&<b>'
    text = "".join(folder_page(evil, evil, [FolderEntry(evil, "x'\"><i>", 1)], 0))
    found = _Links(text)
    assert found.text.count(evil) == 3  # title, heading, link
    assert not {"script", "b", "i"} & found.tags
    assert found.links == ["x'\"><i>"]


def test_a_large_folders_page_is_made_line_by_line() -> None:
    entries = (FolderEntry(str(number), str(number), number) for number in range(10**9))
    lines = folder_page("large", "large", entries, 0)
    assert sum(len(next(lines)) for _ in range(1000)) > 1000


async def test_a_folder_is_listed_while_its_files_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = list[str]()
    write, found_before = web.StreamResponse.write, list[int]()

    def note(manifest: Manifest, folder: str) -> Iterator[Child]:
        for child in children(manifest, folder):
            found.append(child.name)
            yield child

    async def watch(response: web.StreamResponse, data: bytes) -> None:
        found_before.append(len(found))
        await write(response, data)

    monkeypatch.setattr(files, "children", note)
    monkeypatch.setattr(files, "FEW_FILES", files.LINES)
    monkeypatch.setattr(web.StreamResponse, "write", watch)
    entries = [(f"{number:04}", 0, False) for number in range(4 * files.LINES)]
    large = make_holding(b"", name="large", files=entries)
    async with Holder(large) as holder, serving(holder) as gateway:
        assert (await get(gateway, "files/0/")).status == 200
    assert found_before[0] < files.LINES + 3


def test_names_of_very_many_numbers_are_sorted_without_much_memory() -> None:
    found = [Child(f"{'a1' * 100}b{number}", None) for number in range(1000)]
    tracemalloc.start()
    try:
        in_natural_order(found)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000 * len(found), most  # each name is split into a few parts


async def test_folders_come_first_and_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["B1.txt", "a10.txt", "a2.txt", "x10/a", "x9/a", "٣.txt"]
    share = make_holding(
        b"", name="sorted", files=[(name, 0, False) for name in sorted(names)]
    )
    async with Holder(share) as holder, serving(holder) as gateway:
        answer = await get(gateway, "files/0/")
        links = _Links(answer.body.decode()).links
        assert list(map(unquote, links)) == [
            "x9/",
            "x10/",
            "a2.txt",
            "a10.txt",
            "B1.txt",
            "٣.txt",
        ]
        page = _Links((await get(gateway, "")).body.decode()).links
    # Each file is linked to twice: to open it and to save it.
    shown = dict.fromkeys(link for link in page if link.startswith("files/0/"))
    assert list(shown)[:-1] == [f"files/0/{name}" for name in links]
