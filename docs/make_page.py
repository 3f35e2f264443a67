"""Make docs/page.png, the picture of the gateway's page in the README.

    .venv/bin/python docs/make_page.py

It needs chromium and ffmpeg. Nothing in the picture is staged: the browser plays a film
that arrives from two peers at a limited rate, after one jump ahead.
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.chromium import open_chromium  # noqa: E402
from tests.helpers.site import Site, make_film  # noqa: E402

PICTURE = ROOT / "docs" / "page.png"
MAX_SIZE = 150_000  # bytes
WIDTH, HEIGHT = 960, 1060  # CSS pixels
SECONDS = 60  # of the film
LOOK = (
    "mandelbrot=size=640x360:rate=15:start_scale=1.5:end_scale=0.02:end_pts=900,"
    "hue=h=90:s=0.8"
)
# Few colours make the file small.
PALETTE = "split[a][b];[a]palettegen=128[p];[b][p]paletteuse=dither=none"


async def take(url: str, site: Site, profile: Path) -> bytes:
    """Return a picture of the page while the film plays."""
    async with open_chromium(profile, site.namespace) as browser:
        tab = await browser.open_tab()
        await tab.screen(WIDTH, HEIGHT)
        await tab.call("Emulation.setScrollbarsHidden", hidden=True)
        await tab.go(url)
        await tab.run("window.video = document.querySelector('video')")
        await tab.run("video.play()")
        await tab.until("video.currentTime > 3")
        await tab.run("video.currentTime = 38")
        await tab.until("video.currentTime > 40")
        return await tab.screenshot()


def main() -> None:
    """Serve a film, take the picture and reduce its size."""
    with tempfile.TemporaryDirectory() as name, Site() as site:
        folder = Path(name)
        film, full = folder / "deep-sea.mp4", folder / "full.png"
        make_film(film, SECONDS, LOOK)
        url = site.serve(film, "--limit-up", "500K", holders=2)
        full.write_bytes(asyncio.run(take(url, site, folder / "profile")))
        words = ["ffmpeg", "-v", "error", "-y", "-i", str(full), "-vf", PALETTE]
        subprocess.run([*words, str(PICTURE)], check=True)
    size = PICTURE.stat().st_size
    assert size <= MAX_SIZE, f"{size} bytes"


if __name__ == "__main__":
    main()
