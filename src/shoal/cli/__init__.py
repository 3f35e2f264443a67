"""The command line: one file for each command, found by its name.

Only this package prints or exits. A command's module is imported when that command
runs, and what it needs of the engine inside its function, so that `shoal --help`
loads click and nothing heavier.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from shoal import __version__
from shoal.cli.options import EVERYWHERE, key_of
from shoal.cli.output import SCHEMA_VERSION, printable
from shoal.config import Defaults, read_file
from shoal.errors import ShoalError, UsageError

__all__ = ["cli", "run"]

_COMMANDS = {
    "share": "Share a file or folder and print what others pass to get.",
    "get": "Fetch a share from everyone who has it.",
    "cat": "Write a file of a share to standard output.",
    "ls": "List the files of a share.",
    "info": "Say what a share is.",
    "verify": "Compare what is here with what a link names.",
    "chunk": "Write one chunk of a share to standard output.",
}


_OBEYS_FILE = "shoal.obeys_file"  # where a context keeps whether it does


class _Commands(click.Group):
    """Know every command by name and import it when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = importlib.import_module(f"shoal.cli.{name}").command
        assert isinstance(command, click.Command)
        if ctx.meta.get(_OBEYS_FILE):
            ctx.default_map = {name: _defaults_of(command)}
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Who asks for help, or completes a word, gets it though the file is wrong.
        is_help = not {"-h", "--help"}.isdisjoint(args)
        ctx.meta[_OBEYS_FILE] = not (ctx.resilient_parsing or is_help)
        return super().parse_args(ctx, options_behind_command(args))


def _defaults_of(command: click.Command) -> dict[str, Any]:
    """Return what `config.toml` says of a command's options, by their parameters."""
    file = read_file()
    return {
        each.name: file[key_of(each.opts)]
        for each in command.params
        if file and isinstance(each, click.Option) and key_of(each.opts) in file
    }


def options_behind_command(args: Sequence[str]) -> list[str]:
    """Move options that stand before the command behind it.

    They mean the same in both places, and commands know them.
    """
    takes_value = {
        name: not option.is_flag for option in EVERYWHERE for name in option.opts
    }
    place = 0
    while place < len(args):
        name, equals, _ = args[place].partition("=")
        if name not in takes_value:
            break
        place += 2 if takes_value[name] and not equals else 1
    if place >= len(args) or args[place].startswith("-"):
        return list(args)
    return [args[place], *args[:place], *args[place + 1 :]]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="shoal %(version)s")
def cli() -> None:
    """Move a file or folder to any number of machines, no server in the middle.

    \b
    shoal share photos/              prints a link, and shares until Ctrl-C
    shoal get LINK                   fetches it, anywhere
    """


def run(args: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        result = cli.main(args=list(args), prog_name="shoal", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        code, message = 130, "Interrupted."
    except Exception as error:
        if os.environ.get("SHOAL_DEBUG"):
            raise
        code, message = _explain(error)
    click.echo(f"shoal: {printable(message)}", err=True)
    if "--json" in args or _is_json_usual():
        _tell_program(code, message)
    return code


def _is_json_usual() -> bool:
    """Say whether variable or file ask for JSON lines."""
    try:
        return Defaults.load().flag("json")
    except ShoalError:
        return False


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the sentence for whatever went wrong."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            return UsageError.exit_code, f"Name a command.\n\n{error.format_message()}"
        case click.ClickException():
            text = error.format_message().rstrip(".") + "."
            context = getattr(error, "ctx", None)
            hint = f" See {context.command_path} --help." if context else ""
            return UsageError.exit_code, text + hint
        case ShoalError():
            return error.exit_code, str(error)
        case MemoryError():
            return 1, "There is too little memory; end other programs or allow more."
        case _:
            return 1, (
                f"A fault in shoal itself: {type(error).__name__}: {error}. Set "
                "SHOAL_DEBUG=1 to see where, and please report it."
            )


def _tell_program(code: int, message: str) -> None:
    """End the JSON lines with the error that ended the command."""
    import json

    line = {"v": SCHEMA_VERSION, "event": "error", "code": code, "message": message}
    with contextlib.suppress(OSError):
        click.echo(json.dumps(line, separators=(",", ":")))
