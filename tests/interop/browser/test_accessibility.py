"""The page is accessible: by keyboard, screen reader and phone, in light and dark."""

from typing import Any

import pytest

from tests.helpers.chromium import Chromium, Tab
from tests.interop.browser.conftest import NASTY

pytestmark = pytest.mark.interop


async def test_the_page_has_roles_and_names_for_screen_readers(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
    found = [(_value(n, "role"), _value(n, "name")) for n in nodes if not n["ignored"]]
    roles = [role for role, _ in found]
    assert {"banner", "main", "contentinfo", "status", "table"} <= set(roles)
    named = {"link", "image", "button", "region", "heading", "progressbar"}
    unnamed = [role for role, name in found if role in named and not name.strip()]
    assert unnamed == []
    (chunks,) = [name for role, name in found if name.startswith("Chunk map")]
    assert "of 1 chunk verified" in chunks
    assert ("heading", "Files") in found


def _value(node: dict[str, Any], name: str) -> str:
    return str(node.get(name, {}).get("value", ""))


async def test_the_page_works_with_the_keyboard_alone(
    browser: Chromium, folder: str
) -> None:
    tab = await browser.open_tab()
    await tab.go(folder)
    focused = []
    for _ in range(12):
        await _press(tab, "Tab", 9)
        focused.append(await tab.run("document.activeElement.textContent.trim()"))
        if await tab.run("document.activeElement.matches('summary')"):
            break
    assert focused[0] == "Skip to the shares"
    assert NASTY in focused
    await _press(tab, "Enter", 13)
    await tab.until("document.querySelector('details').open")
    await tab.until("document.querySelector('details img').naturalWidth == 1")


async def _press(tab: Tab, key: str, code: int) -> None:
    text = "\r" if key == "Enter" else ""
    for kind in ("keyDown", "keyUp"):
        await tab.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            text=text if kind == "keyDown" else "",
        )


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_no_page_is_wider_than_the_window(
    browser: Chromium, film: str, folder: str, width: int
) -> None:
    tab = await browser.open_tab()
    await tab.screen(width, 800)
    for page in (film, folder):
        await tab.go(page)
        root = "document.documentElement"
        assert await tab.run(f"{root}.scrollWidth") <= width
        assert await tab.run(f"{root}.clientWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_has_enough_contrast_in_light_and_dark(
    browser: Chromium, film: str, scheme: str
) -> None:
    """The contrast is at least 4.5, as WCAG 2.2 defines it."""
    tab = await browser.open_tab()
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await tab.call("Emulation.setEmulatedMedia", features=[feature])
    await tab.go(film)
    contrasts = await tab.run(_CONTRASTS)
    assert len(contrasts) > 20
    assert [each for each in contrasts if each[1] < 4.5] == []
    ground = await tab.run("getComputedStyle(document.body).backgroundColor")
    is_dark = sum(map(int, ground[4:-1].split(","))) < 3 * 128
    assert is_dark == (scheme == "dark")


_CONTRASTS = """(() => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = parse(color).slice(0, 3).map((c) => c / 255)
            .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const color = getComputedStyle(e).backgroundColor;
            if (parse(color)[3] !== 0) return color;
        }
        return "rgb(255, 255, 255)";
    };
    return [...document.body.querySelectorAll("*")]
        .filter((e) => e.checkVisibility() && [...e.childNodes].some(
            (n) => n.nodeType === 3 && n.textContent.trim()))
        .map((e) => {
            const pair = [light(getComputedStyle(e).color), light(ground(e))];
            return [e.textContent.trim(),
                (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
        });
})()"""
