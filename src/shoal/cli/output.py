"""Write results to standard output, and everything else to standard error.

A result that cannot be written ends the command. A message that cannot be written is
dropped and the command continues: perhaps the terminal was closed, or the disk with the
log is full.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from copy import copy
from errno import EDQUOT, EFBIG, ENOSPC
from typing import TYPE_CHECKING, Any

import click

from shoal.errors import DiskFullError, ShoalError, StoreError, UsageError

if TYPE_CHECKING:
    from shoal.cli.status import Status
    from shoal.core.manifest.root import Root
    from shoal.core.report.events import Notice

__all__ = [
    "SCHEMA_VERSION",
    "USUAL_SIZE",
    "Line",
    "Output",
    "ReaderGoneError",
    "explain_output_error",
    "printable",
    "root_fields",
    "size_of_terminal",
    "write_message",
    "writing_output",
]

SCHEMA_VERSION = 1  # of the JSON lines
USUAL_SIZE = (80, 24)  # columns and lines of a terminal that does not tell


def size_of_terminal(fd: int) -> os.terminal_size:
    """Return the size of a terminal; raises `OSError` if it was closed.

    A serial line, or the terminal of a container, may say 0 for what it does not know.
    """
    found = os.get_terminal_size(fd)
    columns, lines = (a or b for a, b in zip(found, USUAL_SIZE, strict=True))
    return os.terminal_size((columns, lines))


def root_fields(root: "Root") -> dict[str, Any]:
    """Return the fields that describe a sealed share in an event."""
    return {
        "name": root.name,
        "size": root.size,
        "chunk_size": root.chunk_size,
        "files": root.file_count,
    }


class ReaderGoneError(ShoalError):
    """The program that read standard output has closed it; the command ends quietly."""

    exit_code = 141  # 128 + SIGPIPE, as of a program that the signal ends


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Raise errors of standard output as `ShoalError`.

    Raises `ReaderGoneError`, `DiskFullError` or `StoreError`.
    """
    try:
        yield
    except OSError as error:
        # What is still buffered must not be written, and not fail, once more.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        raise explain_output_error(error) from None


def explain_output_error(error: OSError) -> ShoalError:
    """Return the error for a failed write to standard output."""
    if isinstance(error, BrokenPipeError):
        return ReaderGoneError("The reader of standard output has closed it.")
    if error.errno in (ENOSPC, EDQUOT):
        return DiskFullError(
            "The disk that standard output writes to is full; free some space there."
        )
    if error.errno == EFBIG:
        return StoreError(
            "The file that standard output writes to reached the largest size allowed; "
            "raise the limit (ulimit -f) or write to another place."
        )
    return StoreError(
        f"Could not write to standard output ({error.strerror}); write to another "
        "place and run the command again."
    )


def write_message(text: str) -> None:
    """Write a line to standard error; ignore errors."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(text, err=True)


class Output:
    """Write for a person or, with `--json`, for a program."""

    def __init__(
        self, *, is_quiet: bool, is_verbose: bool, as_json: bool, shows_progress: bool
    ) -> None:
        self.is_quiet = is_quiet
        self.is_verbose = is_verbose
        self.as_json = as_json
        self.shows_progress = shows_progress and not is_quiet and not as_json
        self.line = Line()
        """What shows what the command is doing; nothing by default."""
        self.room: int | None = None
        """Bytes of messages that may still be written; None without a limit."""
        self._fields: dict[str, Any] = {}  # of every event
        self._reported: set[str] = set()

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "Output":
        """Read the options that every command has."""
        # On the command line, -v replaces a quiet that is in the file.
        return cls(
            is_quiet=options["quiet"] and "verbose" not in options["given"],
            is_verbose=options["verbose"],
            as_json=options["json"],
            shows_progress=not options["no_progress"],
        )

    def about(self, **fields: str) -> "Output":
        """Return an output for one of several things, with these fields in its events.

        It has a line of its own.
        """
        output = copy(self)
        output.line, output._fields = Line(), self._fields | fields
        return output

    @property
    def is_of_one(self) -> bool:
        """Return True if this output is about one of several things."""
        return bool(self._fields)

    def result(self, text: str, *, event: str, **fields: Any) -> None:
        """Write the command's result: `text`, or an event with `--json`; flush."""
        if self.as_json:
            self.event(event, **fields)
        else:
            with self.line.hidden(), writing_output():
                click.echo(printable(text, keep="\n"))
                sys.stdout.flush()

    def event(self, event: str, **fields: Any) -> None:
        """Write one JSON line, with `--json`."""
        if self.as_json:
            import msgspec

            fields = self._fields | fields
            for name, value in fields.items():
                if isinstance(value, str):
                    # A file's name may be invalid Unicode; a JSON line must be valid.
                    fields[name] = value.encode(errors="replace").decode()
            line = {"v": SCHEMA_VERSION, "event": event, **fields}
            with writing_output():
                click.echo(_plain_json(msgspec.json.encode(line).decode()))
                sys.stdout.flush()

    def say(self, text: str) -> None:
        """Write a message that `--quiet` and `--json` suppress."""
        if not self.is_quiet and not self.as_json:
            self._write(printable(text))

    def draw_qr(self, text: str) -> None:
        """Draw `text` as a QR code for a phone to read."""
        try:
            import segno
        except ImportError:
            raise UsageError(
                "--qr needs the package segno: pip install 'shoal[qr]'."
            ) from None
        if not self.as_json:
            code = segno.make(text, error="l")  # a screen has no dirt on it
            columns = code.symbol_size()[0]  # as many as modules
            with contextlib.suppress(OSError, ValueError):  # not a terminal
                room = size_of_terminal(sys.stderr.fileno()).columns
                if room < columns:
                    self.say(
                        "The terminal is too narrow for the QR code: it needs "
                        f"{columns} columns and has {room}; widen it and share again."
                    )
                    return
            with self.line.hidden(), contextlib.suppress(OSError):
                code.terminal(out=sys.stderr, compact=True)

    def warn(self, text: str) -> None:
        """Write a message that nothing suppresses."""
        self._write(f"shoal: {printable(text)}")

    def _write(self, line: str) -> None:
        if self.room is not None:
            if self.room <= 0:
                return
            self.room -= len(line.encode(errors="replace")) + 1
            if self.room <= 0:
                line = "shoal: The size limit for messages is reached; no more follow."
        with self.line.hidden():
            write_message(line)

    def problem(self, text: str) -> None:
        """Warn, once for each text."""
        if text not in self._reported:
            self._reported.add(text)
            self.warn(text)

    def notice(self, notice: "Notice") -> None:
        """Report a problem, or that the node is reachable, which is an event, too."""
        from shoal.core.report.events import Reachable

        if isinstance(notice, Reachable):
            address, method = str(notice.address), notice.method
            self.event("reachable", address=address, method=method)
            self.say(notice.text)
        else:
            self.problem(notice.text)


class Line:
    """A line that shows nothing, for `--quiet`, `--json` and `--no-progress`."""

    def show(self, status: "Status") -> None:
        """Show what the command is doing, in place of what was shown before."""

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line while something else is written."""
        yield

    def clear(self) -> None:
        """Remove the line until `show` is called again; idempotent."""


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with all characters escaped that could control a terminal.

    Line ends are escaped, too, unless they are in `keep`: text from a peer must not
    look like a line of ours.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


def _plain_json(text: str) -> str:
    """Return the same JSON without characters that could control a terminal."""
    if text.isprintable():
        return text
    import json

    # Unprintable characters occur only inside strings, where `json` can escape them.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
