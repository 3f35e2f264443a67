"""What is said when a command fails, to people and to programs."""

import contextlib
import errno
from collections.abc import Sequence

import click

from shoal.cli.output import SCHEMA_VERSION
from shoal.cli.words import unknown_option
from shoal.config.file import Defaults
from shoal.errors import DiskFullError, ShoalError, UsageError

__all__ = ["explain", "tell_program", "wants_json"]


def wants_json(args: Sequence[str]) -> bool:
    """Say whether option, variable or file ask for JSON lines."""
    try:
        return "--json" in args or Defaults.load().flag("json")
    except ShoalError:
        return False


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the sentence for whatever went wrong."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            return UsageError.exit_code, f"Name a command.\n\n{error.format_message()}"
        case click.ClickException():
            if isinstance(error, click.NoSuchOption):
                text = unknown_option(error)
            else:
                text = error.format_message()
            text += "" if text.endswith((".", "?")) else "."
            context = getattr(error, "ctx", None)
            hint = f" See {context.command_path} --help." if context else ""
            return UsageError.exit_code, text + hint
        case ShoalError():
            return error.exit_code, str(error)
        case OSError(errno=errno.ENOSPC):
            return DiskFullError.exit_code, (
                "There is no room for what is written to standard output; free some "
                "space there."
            )
        case MemoryError():
            return 1, "There is too little memory; end other programs or allow more."
        case _:
            return 1, (
                f"A fault in shoal itself: {type(error).__name__}: {error}. Set "
                "SHOAL_DEBUG=1 to see where, and please report it."
            )


def tell_program(code: int, message: str) -> None:
    """End the JSON lines with the error that ended the command."""
    import json

    line = {"v": SCHEMA_VERSION, "event": "error", "code": code, "message": message}
    with contextlib.suppress(OSError):
        click.echo(json.dumps(line, separators=(",", ":")))
