"""The documentation builds without warnings, and its pages load no other site."""

import re
import subprocess
from pathlib import Path

import pytest

import shoal
from tests.helpers.requirements import require

ROOT = Path(__file__).parents[2]
# Resources that a browser loads by itself, in contrast to links.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|link(?=[^>]*rel=\"?(?:stylesheet|preload|icon)))"
    r"[^>]*\b(?:src|href)=\"?(https?:)?//",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once for all tests of this file."""
    is_set_up = (ROOT / ".venv/.dev-installed").exists()
    require(None if is_set_up else "scripts/setup dev has not run")
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [str(ROOT / "scripts/docs"), "--site-dir", str(made)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return made


def test_no_page_loads_from_another_site(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        assert not FETCHED.search(page.read_text()), page.name


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    found = set(re.findall(r'id="shoal\.(?:\w+\.)*(\w+)"', pages))
    assert set(dir(shoal)) - {"__version__"} <= found


def test_a_page_that_loads_from_another_site_is_noticed() -> None:
    assert FETCHED.search('<script defer src="https://example.org/x.js">')
    assert FETCHED.search('<link rel="stylesheet" href="//example.org/x.css">')
    assert not FETCHED.search('<a href="https://example.org/">')
