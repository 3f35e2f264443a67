"""Draw docs/terminal.svg, the picture of the sender's and the receiver's terminal.

    .venv/bin/python docs/make_terminal.py

Two terminals of a namespace run the commands; the picture has what both display while
the download is half done. Nothing leaves the machine.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.netns import Namespace  # noqa: E402
from tests.helpers.terminal import at_machine  # noqa: E402

PICTURE = ROOT / "docs" / "terminal.svg"
SIZE = 96 * 1024 * 1024  # bytes shared
COLUMNS = 84
RATE = "16M"  # so that there is something to see
STYLES = (
    (r"^\$ .*", "bold"),
    (r"^\$", "bold blue"),
    (r"shoal:[a-z2-7]{56}", "green"),
    (r"━+", "green"),
    (r"^On the other machine:|^Press .*|^Sharing .*", "dim"),
)


def main() -> None:
    """Share, list and download, and draw both terminals."""
    with tempfile.TemporaryDirectory() as name, Namespace() as namespace:
        sender, receiver = look(namespace, Path(name))
    console = Console(record=True, width=COLUMNS + 4, file=open(os.devnull, "w"))
    for title, lines in (("laptop", sender), ("workstation", receiver)):
        text = Text("\n".join(lines))
        for pattern, style in STYLES:
            text.highlight_regex(re.compile(pattern, re.MULTILINE), style)
        console.print(Panel(text, title=title, title_align="left", border_style="dim"))
    picture = console.export_svg(title="shoal")
    # A picture in a README must not load fonts from another server.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


def look(namespace: Namespace, folder: Path) -> tuple[list[str], list[str]]:
    """Return the lines of both terminals in the middle of a download."""
    here, there = folder / "here", folder / "there"
    for each in (here / "model", there):
        each.mkdir(parents=True)
    (here / "model" / "weights.bin").write_bytes(os.urandom(SIZE))
    (here / "model" / "README.md").write_text("# A model\n")
    share = f"shoal share model/ --limit-up {RATE}"
    with at_machine(namespace, share, here, columns=COLUMNS) as sender:
        sender.wait("Ctrl-C to stop")
        link = next(line for line in sender.screen if line.startswith("shoal:"))
        ls = f"shoal ls {link}"
        with at_machine(namespace, ls, there, columns=COLUMNS) as first:
            assert first.finish() == 0
            listed = first.screen
        get = f"shoal get {link}"
        with at_machine(namespace, get, there, columns=COLUMNS) as receiver:
            receiver.wait_screen(r"model .* 5\d % .*")
            sender.wait_screen(r"model: 1 peer · .*")
            shown, got = sender.screen, receiver.screen
        sender.interrupt()
        sender.finish()
    short = f"{link[:22]}…"
    lines = [f"$ {share}", *shown]
    others = [f"$ shoal ls {short}", *listed, f"$ shoal get {short}", *got]
    return lines, others


if __name__ == "__main__":
    main()
