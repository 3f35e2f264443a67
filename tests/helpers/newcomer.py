"""A person at two terminals who knows only what `shoal --help` says.

`Newcomer` reads the commands from the help text and replaces nothing but the names in
capitals, by what the other terminal displays. `transcript` has what both terminals
displayed, without what differs from run to run.
"""

import re
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.terminal import Terminal, at_machine

__all__ = ["Newcomer"]

COLUMNS = 100
_LIVE = re.compile(r"^photos: (?:waiting|.* · )")  # the line that is redrawn
_VARIABLE = (
    (r"shoal:[a-z2-7]{56}", "shoal:…"),
    (r"\b\d{4}(-[a-z]{3,8}){3}", "4821-purity-carbon-olympic"),
    (r"port \d+", "port 40001"),
    (r"\b\d+\.\d+\.\d+\.\d+:\d+", "192.168.1.7:40001"),
    (r"in [\d.]+ s \([\d.]+ \w+/s\)", "in 0.2 s (3.1 MiB/s)"),
)


class Newcomer:
    """Send the folder `photos` from one terminal to the other."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        """Sit down at two machines, whose files are in `folder`."""
        self._namespace = namespace
        self.here, self.there = folder / "here", folder / "there"
        for each in (self.here, self.there):
            each.mkdir()
        self._homes = {self.here: folder / "one", self.there: folder / "other"}
        self.transcript: list[str] = []
        """The lines that the terminals displayed, with a title for each."""
        with self._type("shoal --help", self.here) as terminal:
            assert terminal.finish() == 0
            text = terminal.said.replace("\r", "")
        # What the help shows under its first sentence: a command, then what it does.
        found = re.findall(r"^  (shoal [^\n]*?)   +\w", text, re.MULTILINE)
        self._commands: list[str] = found

    def send(self, placeholder: str) -> None:
        """Share, and download on the other machine what the first line says there.

        `placeholder` is LINK or CODE. Raises `AssertionError` if anything fails.
        """
        place = next(i for i, c in enumerate(self._commands) if c.endswith(placeholder))
        share, get = self._commands[place - 1 : place + 1]
        with self._type(share, self.here) as sender:
            sender.wait("On the other machine:")
            sender.wait("Ctrl-C to stop")
            shown = "\n".join(sender.screen)
            pasted = re.search(rf"^ +({get.split()[0]} get \S+)$", shown, re.MULTILINE)
            assert pasted is not None, shown
            with self._type(pasted[1], self.there) as receiver:
                assert receiver.finish() == 0, receiver.screen
            sender.wait("has everything")
            self._note("The first terminal", share, sender)
            self._note("The second terminal", pasted[1], receiver)
            sender.interrupt()
            assert sender.finish() == 130

    def _type(self, command: str, folder: Path) -> Terminal:
        """Type a command, as it is displayed, into a terminal of a machine."""
        home = self._homes[folder]
        return at_machine(self._namespace, command, folder, home=home, columns=COLUMNS)

    def _note(self, title: str, command: str, terminal: Terminal) -> None:
        """Add to the transcript what a terminal displays, without the live line."""
        lines = [line for line in terminal.screen if not _LIVE.match(line)]
        text = "\n".join([f"{title}:", f"$ {command}", *lines])
        for pattern, replacement in _VARIABLE:
            text = re.sub(pattern, replacement, text)
        self.transcript += [*text.splitlines(), ""]
