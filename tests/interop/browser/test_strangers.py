"""Pages of strangers, in the same browser, neither read nor embed what is served."""

from pathlib import Path

import pytest

from tests.helpers.chromium import Chromium
from tests.helpers.site import Site

pytestmark = pytest.mark.interop

PARTS = ("fetch", "no-cors", "text", "events", "image")

_TRIES = """
const results = {}, base = "TARGET";
const note = (name, promise) => promise.then(
    () => results[name] = "something", () => results[name] = "nothing");
const load = (name, element, what) => note(name, new Promise((done, fail) => {
    element[what] = done;
    element.onerror = fail;
    element.src = base + "files/0/pixel.png";
    document.documentElement.append(element);
}));
note("fetch", fetch(base));
note("no-cors", fetch(base, {mode: "no-cors", credentials: "include"}));
note("text", fetch(base + "files/0/page.html", {mode: "no-cors"}));
note("events", fetch(base + "events", {mode: "no-cors"}));
load("image", new Image(), "onload");
"""
_EVIL = f"""<!DOCTYPE html><script>{_TRIES}
load("script", document.createElement("script"), "onload");
load("video", document.createElement("video"), "onloadedmetadata");
const frame = document.createElement("iframe");
frame.src = base;
frame.onload = () => results.frame = frame.contentDocument ? "something" : "nothing";
document.documentElement.append(frame);
</script>"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_page_of_another_origin_reads_and_embeds_nothing(
    browser: Chromium, folder: str, site: Site, tmp_path: Path, host: str
) -> None:
    """Another port of the same host is the same site, but not the same origin."""
    (tmp_path / "evil.html").write_text(_EVIL.replace("TARGET", folder))
    port = site.serve_folder(tmp_path)
    tab = await browser.open_tab()
    await tab.go(f"http://{host}:{port}/evil.html")
    got = await tab.until(f"Object.keys(results).length == {len(PARTS) + 3} && results")
    assert set(got.values()) == {"nothing"}
    assert set(tab.statuses(folder)) == {403}


async def test_what_strangers_try_works_for_the_page_itself(
    browser: Chromium, folder: str
) -> None:
    """Guard the test above: it does ask for what is there."""
    tab = await browser.open_tab()
    await tab.go(folder)
    await tab.run(f"{_TRIES.replace('TARGET', folder)} window.results = results;")
    got = await tab.until(f"Object.keys(results).length == {len(PARTS)} && results")
    assert set(got.values()) == {"something"}


async def test_what_is_shared_runs_nothing_when_it_is_opened(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    title = await tab.run("document.title")
    said = await tab.call("Page.navigate", url=f"{folder}files/0/page.html")
    assert said["errorText"] == "net::ERR_ABORTED"  # it is to be saved
    assert await tab.run("document.title") == title


async def test_no_script_but_its_own_runs_in_the_page(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    for attempt in (
        "document.body.innerHTML = '<img src=x onerror=alert(1)>'",
        "document.createElement('script').src = 'files/0/page.html'",
        "document.createElement('script').text = 'document.title = 1'",
    ):
        tried = f"(() => {{ try {{ {attempt} }} catch (e) {{ return e.name }} }})()"
        assert await tab.run(tried) == "TypeError"
