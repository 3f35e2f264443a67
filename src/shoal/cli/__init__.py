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

from shoal.cli.options import key_of, version_option
from shoal.cli.output import SCHEMA_VERSION, printable
from shoal.cli.words import nearest, options_behind_command, unknown_option
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
    "doctor": "Say what works on this machine, and what to do about what does not.",
}


_OBEYS_FILE = "shoal.obeys_file"  # where a context keeps whether it does


class _Commands(click.Group):
    """Know every command by name and import it when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = _load(name)
        if ctx.meta.get(_OBEYS_FILE):
            ctx.default_map = {name: _defaults_of(command)}
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in _COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {word[:40]}{nearest(word, _COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Who asks for help, or completes a word, gets it though the file is wrong.
        is_help = not {"-h", "--help"}.isdisjoint(args)
        ctx.meta[_OBEYS_FILE] = not (ctx.resilient_parsing or is_help)
        try:
            args = options_behind_command(args, map(_load, _COMMANDS))
        except click.NoSuchOption:
            if not ctx.resilient_parsing:
                raise
        return super().parse_args(ctx, args)


def _load(name: str) -> click.Command:
    command = importlib.import_module(f"shoal.cli.{name}").command
    assert isinstance(command, click.Command)
    return command


def _defaults_of(command: click.Command) -> dict[str, Any]:
    """Return what `config.toml` says of a command's options, by their parameters."""
    file = read_file()
    return {
        each.name: file[key_of(each.opts)]
        for each in command.params
        if file and isinstance(each, click.Option) and key_of(each.opts) in file
    }


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@version_option
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
