"""The page works without its script and escapes every text from a share."""

import re
import subprocess
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from msgspec.structs import replace

from shoal.core.manifest.file_tree import File
from shoal.core.manifest.listing import Child
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.status import ShareStatus
from shoal.gateway.archive import MAX_ARCHIVED
from shoal.gateway.page.html import ShareDetails, csp, render
from shoal.gateway.page.view import ShareView, known_view, unknown_view
from tests.helpers.holder import make_holding

HOLDING = make_holding(16_384 * 3, chunk_size=16_384)
STATUS = ShareStatus(None, None, frozenset({1}), frozenset(), ())
VIEW = known_view(0, Manifest(HOLDING.link.id, HOLDING.root), STATUS, {})


def _child(name: str) -> Child:
    return Child(name, File(name, 9, False, 0))


CONTENT = ShareDetails(
    "film.mp4", "3 chunks", False, (_child("film.mp4"),), 1, "shoal:x", None
)
NASTY = "\"><img src=x onerror=alert(1)>'&<script>alert(2)</script>"


class Tags(HTMLParser):
    """Collect the elements and the text of a page."""

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


def test_the_page_links_to_each_file() -> None:
    page = _page()
    assert [each for each in page.all("details") if "open" in each], "it is alone"
    assert "files/0/film.mp4" in [a["href"] for a in page.all("a")]
    (video,) = page.all("video")
    assert (video["src"], video["preload"]) == ("files/0/film.mp4", "none")


def test_a_files_path_is_quoted_in_its_link() -> None:
    child = _child("a b 100 % ü?#.mp3")
    page = _page(content=replace(CONTENT, children=(child,)))
    href = "files/0/a%20b%20100%20%25%20%C3%BC%3F%23.mp3"
    assert href in [a["href"] for a in page.all("a")]
    assert page.all("audio")[0]["src"] == href


def test_text_from_a_share_or_a_peer_is_never_markup() -> None:
    plain = _page()
    child = _child(f"{NASTY}.mp4")
    content = ShareDetails(NASTY, NASTY, False, (child,), 1, NASTY, None)
    page = _page(replace(VIEW, summary=NASTY, progress=NASTY, map_label=NASTY), content)
    assert [tag for tag, _ in page.found] == [tag for tag, _ in plain.found]
    assert [a.keys() for _, a in page.found] == [a.keys() for _, a in plain.found]
    assert NASTY in page.text


def test_files_that_can_run_scripts_are_not_embedded() -> None:
    names = ("x.html", "x.svg", "x.pdf", "x.js", "x", ".mp4")
    page = _page(content=replace(CONTENT, children=tuple(map(_child, names))))
    assert not page.all("video") + page.all("img") + page.all("iframe")
    links = [a for a in page.all("a") if "files/0/" in (a["href"] or "")]
    # One to open and one to save each of them.
    assert ["download" in link for link in links] == 6 * [False, True]


def test_a_folder_is_linked_to_and_can_be_saved_with_all_others() -> None:
    children = (Child("a b", None), _child("c.bin"))
    folder = replace(CONTENT, children=children, is_folder=True, count=9)
    hrefs = [a["href"] for a in _page(content=folder).all("a")]
    assert {"files/0/a%20b/", "zip/0/a%20b/", "zip/0/"} <= set(hrefs)
    many = replace(folder, count=MAX_ARCHIVED + 1)
    assert "zip/0/" not in [a["href"] for a in _page(content=many).all("a")]


def test_the_page_lists_a_limited_number_of_files() -> None:
    listed = tuple(_child(f"{i}.txt") for i in range(20))
    page = _page(content=replace(CONTENT, children=listed, count=25, is_folder=True))
    hrefs = [a["href"] for a in page.all("a") if "download" not in a]
    assert sum(h is not None and h.endswith(".txt") for h in hrefs) == 20
    assert "files/0/" in hrefs
    assert "All files (5 more)" in page.text


def test_the_policy_allows_only_the_pages_own_style_and_script() -> None:
    page = render([(VIEW, CONTENT)])
    for kind in ("script", "style"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in csp()
    assert "default-src 'none'" in csp()
    assert "unsafe" not in csp()
    # The page has no inline style or handler, which the policy would block.
    assert not any(
        name == "style" or name.startswith("on")
        for _, attrs in Tags(page).found
        for name in attrs
    )


def test_without_its_script_the_page_reloads_until_the_share_is_known() -> None:
    waiting = render([(unknown_view(0, "No peer has it."), CONTENT)])
    assert '<noscript><meta http-equiv="refresh"' in waiting
    assert "No peer has it." in waiting
    # A reload later would stop a player.
    assert "refresh" not in render([(VIEW, CONTENT)])


def test_every_image_and_control_has_an_accessible_name() -> None:
    page = _page()
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg["aria-label"]
    ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    for _, attrs in page.found:
        assert attrs.get("aria-labelledby") in {None, *ids}
    assert page.all("progress")[0]["aria-label"]
    assert page.all("video")[0]["aria-label"] == "film.mp4"
    assert page.all("html")[0]["lang"] == "en"


def test_the_command_to_copy_is_one_that_a_shell_runs_as_shown() -> None:
    origins = ("http://192.0.2.1/a?b=c&d='e'", "http://192.0.2.2/")
    link = str(Link(bytes(32), (), origins))
    text = _page(content=replace(CONTENT, link=link)).text
    (line,) = [each for each in text.splitlines() if each.startswith("shoal get")]
    argv = ["sh", "-c", line.replace("shoal get", "printf '%s\n'")]
    assert subprocess.check_output(argv, text=True) == link + "\n"


def test_several_shares_get_a_navigation_list() -> None:
    views = [VIEW, replace(VIEW, number=1)]
    page = Tags(render([(view, CONTENT) for view in views]))
    assert [each for each in page.all("details") if "open" in each] == []
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {"#share-0", "#share-1"} <= {a["href"] for a in page.all("a")}
