"""Draw docs/terminal.svg, the picture of a real session in the README.

    python docs/make_terminal.py

It runs two nodes that connect over loopback; nothing leaves the machine.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

SHOAL = [sys.executable, "-m", "shoal"]
SIZE = 48 * 1024 * 1024  # bytes shared


def main() -> None:
    """Share, list, download and verify; draw what the commands print."""
    console = Console(record=True, width=84, file=open(os.devnull, "w"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        env = {
            **os.environ,
            "SHOAL_LAN_ONLY": "1",
            "SHOAL_NO_LAN": "1",
            "SHOAL_INTERFACES": "lo",
            "XDG_DATA_HOME": folder,
        }
        (home / "model").mkdir()
        (home / "model" / "weights.bin").write_bytes(os.urandom(SIZE))
        (home / "model" / "README.md").write_text("# A model\n")
        show(console, "shoal share model/")
        sharer = subprocess.Popen(
            [*SHOAL, "share", "model", "--port", "14001"],
            cwd=home,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert sharer.stdout is not None
        assert sharer.stderr is not None
        link = sharer.stdout.readline().strip()
        console.print(Text(link, style="bold green"))
        console.print(Text(sharer.stderr.readline().strip(), style="dim"))
        console.print()
        peer = ["--peer", "127.0.0.1:14001"]
        short = link[:20] + "…"
        for words in (["ls"], ["get", "-C", "elsewhere"], ["verify"]):
            (home / "elsewhere").mkdir(exist_ok=True)
            tail = ["elsewhere/model"] if words == ["verify"] else []
            show(console, " ".join(["shoal", words[0], short, *words[1:], *tail]))
            done = subprocess.run(
                [*SHOAL, words[0], link, *words[1:], *tail, *peer],
                cwd=home,
                env=env,
                capture_output=True,
                text=True,
                check=True,
            )
            console.print(Text(done.stdout.rstrip()))
            console.print()
        sharer.terminate()
        sharer.wait(10)
    target = Path(__file__).with_name("terminal.svg")
    picture = console.export_svg(title="shoal")
    # A picture in a README must not load fonts from another server.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


def show(console: Console, command: str) -> None:
    """Print a command as a user types it."""
    console.print(Text.assemble(("$ ", "bold blue"), (command, "bold")))


if __name__ == "__main__":
    main()
