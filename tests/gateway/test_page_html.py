"""The page is whole without its script, and nothing in it is a share's own markup."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from msgspec.structs import replace

from shoal.core.manifest.file_table import File
from shoal.core.manifest.manifest import Manifest
from shoal.core.report.status import ShareStatus
from shoal.gateway.page.html import MAX_FILES, ShareDetails, csp, render
from shoal.gateway.page.view import ShareView, known_view, unknown_view
from tests.helpers.holder import make_holding

HOLDING = make_holding(16_384 * 3, chunk_size=16_384)
STATUS = ShareStatus(None, None, frozenset({1}), frozenset(), ())
VIEW = known_view(0, Manifest(HOLDING.link.id, HOLDING.root), STATUS, {})
CONTENT = ShareDetails(
    "film.mp4", "3 chunks", False, (File("film.mp4", 9, False, 0),), "shoal:x", None
)
NASTY = "\"><img src=x onerror=alert(1)>'&<script>alert(2)</script>"


class Tags(HTMLParser):
    """Collect what is in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.found if tag == name]


def _page(view: ShareView = VIEW, content: ShareDetails = CONTENT) -> Tags:
    return Tags(render([(view, content)]))


def test_files_are_plain_links_in_what_the_server_sends() -> None:
    page = _page()
    assert "files/0/film.mp4" in [a["href"] for a in page.all("a")]
    (video,) = page.all("video")
    assert (video["src"], video["preload"]) == ("files/0/film.mp4", "none")


def test_a_link_has_the_name_of_the_file_quoted() -> None:
    file = File("a b/100 % ü?#.mp3", 9, False, 0)
    page = _page(content=replace(CONTENT, files=(file,)))
    href = "files/0/a%20b/100%20%25%20%C3%BC%3F%23.mp3"
    assert href in [a["href"] for a in page.all("a")]
    assert page.all("audio")[0]["src"] == href


def test_nothing_that_a_share_or_a_peer_says_becomes_markup() -> None:
    plain = _page()
    file = File(f"{NASTY}.mp4", 9, False, 0)
    content = ShareDetails(NASTY, NASTY, False, (file,), NASTY, None)
    page = _page(replace(VIEW, summary=NASTY, progress=NASTY, map_label=NASTY), content)
    assert [tag for tag, _ in page.found] == [tag for tag, _ in plain.found]
    assert [a.keys() for _, a in page.found] == [a.keys() for _, a in plain.found]
    assert NASTY in page.text


def test_only_what_runs_nothing_is_shown_in_the_page() -> None:
    names = ("x.html", "x.svg", "x.pdf", "x.js", "x", ".mp4")
    files = tuple(File(name, 9, False, 0) for name in names)
    page = _page(content=replace(CONTENT, files=files))
    assert not page.all("video") + page.all("img") + page.all("iframe")
    assert len([a for a in page.all("a") if "files/0/" in (a["href"] or "")]) == 6


def test_a_folder_of_very_many_files_is_listed_in_part() -> None:
    files = tuple(File(f"{i}.txt", 1, False, i) for i in range(MAX_FILES + 5))
    page = _page(content=replace(CONTENT, files=files, is_folder=True))
    hrefs = [a["href"] for a in page.all("a")]
    assert sum(h is not None and h.endswith(".txt") for h in hrefs) == MAX_FILES
    assert "files/0/" in hrefs
    assert "All files (5 more)" in page.text


def test_the_policy_allows_this_style_and_this_script_and_no_other() -> None:
    page = render([(VIEW, CONTENT)])
    for kind in ("script", "style"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in csp()
    assert "default-src 'none'" in csp()
    assert "unsafe" not in csp()
    # What the policy would refuse is not there to begin with.
    assert not any(
        name == "style" or name.startswith("on")
        for _, attrs in Tags(page).found
        for name in attrs
    )


def test_without_its_script_the_page_comes_again_until_there_is_something() -> None:
    waiting = render([(unknown_view(0, "Nobody has it."), CONTENT)])
    assert '<noscript><meta http-equiv="refresh"' in waiting
    assert "Nobody has it." in waiting
    # From then on it would stop what is being played.
    assert "refresh" not in render([(VIEW, CONTENT)])


def test_every_picture_and_control_has_a_name() -> None:
    page = _page()
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg["aria-label"]
    ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    for _, attrs in page.found:
        assert attrs.get("aria-labelledby") in {None, *ids}
    assert page.all("progress")[0]["aria-label"]
    assert page.all("video")[0]["aria-label"] == "film.mp4"
    assert page.all("html")[0]["lang"] == "en"


def test_several_shares_have_a_list_to_jump_from() -> None:
    views = [VIEW, replace(VIEW, number=1)]
    page = Tags(render([(view, CONTENT) for view in views]))
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"#share-0", "#share-1"} <= {a["href"] for a in page.all("a")}
