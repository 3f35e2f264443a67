"""In a real browser, the page shows the chunks that arrive and plays films."""

import pytest

from tests.helpers.chromium import Chromium, Tab
from tests.interop.browser.conftest import NASTY, SECONDS

pytestmark = pytest.mark.interop

LIVE = 'document.getElementById("state").dataset.live == "yes"'
CELLS = 'document.querySelector(".map").dataset.cells'


@pytest.mark.program(
    *("system", "Chromium", "chromium --version"),
    "plays a film that is still being fetched",
)
async def test_a_film_plays_and_seeks_while_most_of_it_is_missing(
    browser: Chromium, film: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(film)
    await tab.until(LIVE)
    await tab.run('window.video = document.querySelector("video"); video.play()')
    await tab.until("video.currentTime > 0.2")
    cells = await _cells_now(tab)
    assert 0 < len(cells) - cells.count("0") < len(cells) / 4, cells

    await tab.run(f"video.currentTime = {SECONDS - 2}")
    await tab.until(f"!video.seeking && video.currentTime > {SECONDS - 1.8}")
    assert await tab.run("video.error === null && video.videoWidth") == 640
    # The map shows that the played chunks are verified and the skipped ones missing.
    await tab.until(f"/3[34]*$/.test({CELLS})")
    cells = await tab.run(CELLS)
    assert cells[0] == "3"
    assert "0" * (len(cells) // 3) in cells, cells
    drawn = await tab.run(
        'document.querySelector(".map [data-kind=\\"3\\"]").getAttribute("d")'
    )
    assert drawn.count("M") == cells.count("3")
    assert tab.complaints == []


async def _cells_now(tab: Tab) -> str:
    """Return the chunk map that a page opened now would get."""
    cells: str = await tab.run(
        """(async () => {
            const reader = (await fetch("events")).body.getReader();
            const text = new TextDecoder().decode((await reader.read()).value);
            await reader.cancel();
            return JSON.parse(text.slice(6))[0].cells[0][1];
        })()"""
    )
    return cells


async def test_names_that_look_like_markup_are_shown_as_text(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    await tab.until(LIVE)
    names = await tab.run(
        "[...document.querySelectorAll('.files li a')].map(a => a.textContent)"
    )
    assert NASTY in names
    assert await tab.run("document.title") == "Möwen & <b>more<b> – shoal"
    assert await tab.run("document.querySelectorAll('.files img').length") == 1
    assert tab.complaints == []


@pytest.mark.program(
    *("system", "Chromium", "chromium --version"),
    "the page without scripts",
)
async def test_the_page_works_without_scripts(
    browser: Chromium, film: str, folder: str
) -> None:
    tab = await browser.open_tab(scripts=False)
    await tab.go(film)
    assert await tab.run("document.getElementById('state').dataset.live") == "no"
    assert len(await tab.run(CELLS)) > 50
    assert await tab.run("document.querySelector('video').controls")
    assert (
        await tab.run("document.querySelector('.pass-on code').textContent.length") > 60
    )
    assert not await tab.run(_VISIBLE.format("button, .graph, [data-graph]"))
    await tab.go(folder)
    href = await tab.run(
        "[...document.querySelectorAll('.files a')]"
        ".find(a => a.textContent.includes('onerror')).href"
    )
    await tab.go(href)
    assert await tab.run("document.body.textContent") == "only text"


_VISIBLE = (
    "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"
)


async def test_a_film_plays_when_its_url_is_opened_directly(
    browser: Chromium, film: str
) -> None:
    """The browser shows its own player, without scripts of ours."""
    tab = await browser.open_tab(scripts=False)
    await tab.go(f"{film}files/0/film.mp4")
    await tab.run("document.querySelector('video').play()")
    await tab.until("document.querySelector('video').currentTime > 0.1")
    assert await tab.run("document.querySelector('video').videoWidth") == 640
