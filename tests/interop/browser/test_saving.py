"""In a real browser, files and folders are saved from the page, each with its bytes."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.helpers.chromium import Chromium, Tab
from tests.helpers.site import Site

pytestmark = pytest.mark.interop

PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
FILES = {
    "a2.txt": b"two",
    "a10.txt": b"ten",
    "paper.pdf": PDF,
    "pages 9/b.txt": b"nine",
    "pages 10/b.txt": b"ten more",
}
SAVE = "document.querySelector('a[download][href=\"{}\"]').click()"
NAMES = (
    "[...document.querySelectorAll('.files li a:not(.save)')].map(a => a.textContent)"
)


@pytest.fixture(scope="module")
def saving(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Serve a folder with files to save; return the page's URL."""
    path = tmp_path_factory.mktemp("saving") / "plan"
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return site.serve(path)


@pytest.fixture
async def tab(browser: Chromium, saving: str, tmp_path: Path) -> Tab:
    """Open the page in a browser that saves to `tmp_path`."""
    await browser.save_to(tmp_path)
    tab = await browser.open_tab()
    await tab.go(saving)
    return tab


@pytest.mark.program(
    *("system", "Chromium", "chromium --version"),
    "saves files, and folders as ZIP archives, from the page",
)
async def test_files_and_folders_are_saved_from_the_page(
    browser: Chromium, tab: Tab, tmp_path: Path
) -> None:
    await tab.run(SAVE.format("files/0/a10.txt"))
    assert (await browser.saved(tmp_path / "a10.txt")).read_bytes() == b"ten"

    await tab.run(SAVE.format("zip/0/"))
    with ZipFile(await browser.saved(tmp_path / "plan.zip")) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert {name.removeprefix("plan/"): data for name, data in found.items()} == FILES

    await tab.run(SAVE.format("zip/0/pages%2010/"))
    with ZipFile(await browser.saved(tmp_path / "pages 10.zip")) as archive:
        assert archive.read("pages 10/b.txt") == b"ten more"


async def test_a_folder_on_the_page_leads_to_its_files(
    browser: Chromium, tab: Tab
) -> None:
    href = await tab.run(
        "[...document.querySelectorAll('.files a')]"
        ".find(a => a.textContent.startsWith('pages 10')).href"
    )
    await tab.go(href)
    href = await tab.run("document.querySelector('a[href=\"b.txt\"]').href")
    await tab.go(href)
    assert await tab.run("document.body.textContent") == "ten more"


async def test_the_page_lists_folders_first_and_numbers_as_numbers(tab: Tab) -> None:
    names = [name.rstrip("/") for name in await tab.run(NAMES)]
    assert names == ["pages 9", "pages 10", "a2.txt", "a10.txt", "paper.pdf"]


async def test_a_pdf_file_is_saved_and_not_shown(
    browser: Chromium, tab: Tab, saving: str, tmp_path: Path
) -> None:
    title = await tab.run("document.title")
    said = await tab.call("Page.navigate", url=f"{saving}files/0/paper.pdf")
    assert said["errorText"] == "net::ERR_ABORTED"  # the file is a download
    assert (await browser.saved(tmp_path / "paper.pdf")).read_bytes() == PDF
    assert await tab.run("document.title") == title
