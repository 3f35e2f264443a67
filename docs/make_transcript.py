"""Write what two terminals display into docs/tutorial.md.

    .venv/bin/python docs/make_transcript.py

A script that knows only `shoal --help` sends a folder by link and by code
(`tests/helpers/newcomer.py`). Nothing leaves the machine.
"""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.netns import Namespace  # noqa: E402
from tests.helpers.newcomer import Newcomer  # noqa: E402

PAGE = ROOT / "docs" / "tutorial.md"
BEGIN, END = "<!-- made by make_transcript.py -->\n\n```text\n", "\n```\n"
SIZES = {"dawn.jpg": 200_000, "dusk.jpg": 200_000, "raw/dawn.dng": 200_000}


def main() -> None:
    """Run the script and write the transcript."""
    with tempfile.TemporaryDirectory() as name, Namespace() as namespace:
        made = transcript(namespace, Path(name))
    before, mark, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    assert mark
    PAGE.write_text(before + BEGIN + made + END + after)


def transcript(namespace: Namespace, folder: Path) -> str:
    """Send the folder both ways; return what the terminals displayed."""
    newcomer = Newcomer(namespace, folder)
    for name, size in SIZES.items():
        path = newcomer.here / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    newcomer.send("LINK")
    (newcomer.there / "photos").rename(newcomer.there / "photos-by-link")
    newcomer.send("CODE")
    for name in SIZES:
        sent = (newcomer.here / "photos" / name).read_bytes()
        for copy in ("photos-by-link", "photos"):
            assert (newcomer.there / copy / name).read_bytes() == sent
    return "\n".join(newcomer.transcript).rstrip()


if __name__ == "__main__":
    main()
