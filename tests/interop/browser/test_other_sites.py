"""Pages of other sites in the same browser can neither read nor embed the gateway."""

from pathlib import Path

import pytest

from tests.helpers.chromium import Chromium
from tests.helpers.site import Site

pytestmark = pytest.mark.interop

ATTEMPTS = ("fetch", "no-cors", "text", "events", "image")

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
async def test_a_page_of_another_origin_can_read_and_embed_nothing(
    browser: Chromium, folder: str, site: Site, tmp_path: Path, host: str
) -> None:
    """Another port of the same host is the same site but another origin."""
    (tmp_path / "favicon.ico").touch()  # or Python prints a traceback
    (tmp_path / "evil.html").write_text(_EVIL.replace("TARGET", folder))
    port = site.serve_folder(tmp_path)
    tab = await browser.open_tab()
    await tab.go(f"http://{host}:{port}/evil.html")
    got = await tab.until(
        f"Object.keys(results).length == {len(ATTEMPTS) + 3} && results"
    )
    assert set(got.values()) == {"nothing"}
    assert set(tab.statuses(folder)) == {403}


async def test_the_same_attempts_succeed_from_the_gateways_own_page(
    browser: Chromium, folder: str
) -> None:
    """Prove that the attempts of the test above would work if they were allowed."""
    tab = await browser.open_tab()
    await tab.go(folder)
    await tab.run(f"{_TRIES.replace('TARGET', folder)} window.results = results;")
    got = await tab.until(f"Object.keys(results).length == {len(ATTEMPTS)} && results")
    assert set(got.values()) == {"something"}


async def test_a_shared_html_file_is_saved_and_not_run(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    title = await tab.run("document.title")
    result = await tab.call("Page.navigate", url=f"{folder}files/0/page.html")
    assert result["errorText"] == "net::ERR_ABORTED"  # the file is a download
    assert await tab.run("document.title") == title


async def test_injected_scripts_are_blocked_in_the_page(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    for attempt in (
        "document.body.innerHTML = '<img src=x onerror=alert(1)>'",
        "document.createElement('script').src = 'files/0/page.html'",
        "document.createElement('script').text = 'document.title = 1'",
    ):
        wrapped = f"(() => {{ try {{ {attempt} }} catch (e) {{ return e.name }} }})()"
        assert await tab.run(wrapped) == "TypeError"


_POPUP = """
(() => {
    window.popup ??= window.open(URL_OF_POPUP);
    try { return popup.document.URL == "about:blank" ? null : "read"; }
    catch (error) { return error.name; }
})()
"""
_CONNECTS = """<!DOCTYPE html><script>
for (let i = 0; i < 60; i++) {
    const link = document.createElement("link");
    link.rel = i % 2 ? "preconnect" : "dns-prefetch";
    link.href = "TARGET";
    document.head.append(link);
}
window.ended = 0;
for (let i = 0; i < 60; i++)
    fetch("TARGETzip/0/?" + i, {mode: "no-cors"}).then(
        () => window.read = true, () => null).finally(() => window.ended++);
</script>"""


@pytest.mark.parametrize("path", ["", "files/0/page.html"])
async def test_a_popup_of_another_site_can_be_opened_and_not_read(
    browser: Chromium, folder: str, site: Site, tmp_path: Path, path: str
) -> None:
    (tmp_path / "favicon.ico").touch()  # or Python prints a traceback
    (tmp_path / "evil.html").write_text("<!DOCTYPE html>")
    port = site.serve_folder(tmp_path)
    tab = await browser.open_tab()
    await tab.go(f"http://localhost:{port}/evil.html")
    script = _POPUP.replace("URL_OF_POPUP", repr(f"{folder}{path}"))
    assert await tab.until(script) == "SecurityError"


async def test_preconnects_and_archives_for_another_site_keep_no_user_out(
    browser: Chromium, folder: str, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "favicon.ico").touch()  # or Python prints a traceback
    (tmp_path / "evil.html").write_text(_CONNECTS.replace("TARGET", folder))
    port = site.serve_folder(tmp_path)
    evil, own = await browser.open_tab(), await browser.open_tab()
    await evil.go(f"http://localhost:{port}/evil.html")
    await own.go(folder)
    assert await own.run("document.title")
    await evil.until("ended == 60")
    assert await evil.run("window.read") is None
    assert set(evil.statuses(folder)) == {403}
