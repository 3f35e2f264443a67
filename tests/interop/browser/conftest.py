"""Fixtures of the browser tests: the served pages, and the browser.

Share, gateway and browser run in a network namespace that has only `lo`; the browser's
profile is in a folder of the test.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.helpers.chromium import Chromium, missing_chromium, open_chromium
from tests.helpers.netns import missing_namespaces
from tests.helpers.requirements import require
from tests.helpers.site import Site, make_film, missing_film

SECONDS = 40  # of the film
RATE = "700K"  # bytes per second that its peer uploads
NASTY = "<img src=x onerror=document.title='ran'>&\"'.txt"
# One red pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944"
    "415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    """Return a site to serve from, which ends with the tests of this package."""
    require(missing_chromium() or missing_namespaces())
    with Site() as made:
        yield made


@pytest.fixture(scope="package")
def film(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve a film whose peer uploads slowly; return the URL of the page."""
    require(missing_film())
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_film(path, SECONDS)
    assert path.stat().st_size > 6_000_000
    return site.serve(path, "--limit-up", RATE)


@pytest.fixture(scope="package")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve a folder with long names and names like markup; return the page's URL."""
    path = tmp_path_factory.mktemp("folder") / "Möwen & <b>more</b>".replace("/", "")
    (path / "below").mkdir(parents=True)
    (path / "pixel.png").write_bytes(PIXEL)
    (path / NASTY).write_text("only text")
    (path / "below" / ("long-" * 40 + ".txt")).write_text("more")
    (path / "page.html").write_text("<script>document.title='ran'</script>")
    return site.serve(path)


@pytest.fixture
async def browser(site: Site, tmp_path: Path) -> AsyncIterator[Chromium]:
    """Start a browser for one test."""
    async with open_chromium(tmp_path / "profile", site.namespace) as running:
        yield running
