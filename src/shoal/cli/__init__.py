"""The command line: one file for each command, found by its name.

Only this package prints or exits. A command's module is imported when that command
runs, and what it needs of the engine inside its function, so that `shoal --help`
loads click and nothing heavier.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.failures import explain, tell_program, wants_json
from shoal.cli.options import EVERYWHERE, key_of, version_option
from shoal.cli.output import printable
from shoal.cli.words import nearest, options_behind_command
from shoal.config.file import read_file

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["cli", "run"]

_COMMANDS = {
    "share": "Share a file or folder and print what others pass to get.",
    "get": "Fetch a share from everyone who has it.",
    "cat": "Write a file of a share to standard output.",
    "ls": "List the files of a share.",
    "info": "Say what a share is.",
    "serve": "Serve shares over HTTP, to a browser or a player.",
    "verify": "Compare what is here with what a link names.",
    "chunk": "Write one chunk of a share to standard output.",
    "doctor": "Say what works on this machine, and what to do about what does not.",
    "completion": "Print what completes shoal's words in a shell.",
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

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> "list[CompletionItem]":
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            from click.shell_completion import CompletionItem

            found += [
                CompletionItem(name, help=each.help)
                for each in EVERYWHERE
                for name in each.opts
                if name.startswith(incomplete)
            ]
        return found

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


_EPILOG = """
\b
Exit codes:
0    all went well
1    failure: no such file, a second process on one target, anything else
2    the command line is wrong, or a link mistyped
3    nobody has it
4    the file system forbids it
5    it does not verify
6    the target exists
7    unfinished; run the same command again to go on
9    the disk is full
130  interrupted
143  terminated

\b
Environment and files:
Every option has a variable, as SHOAL_LIMIT_UP=10M, and a key in the file
~/.config/shoal/config.toml, as limit-up = "10M". Options count most, then
variables, then the file.
SHOAL_CONFIG      another file than that
SHOAL_INTERFACES  what listening, multicast and the DHT keep to, as lo,eth0
SHOAL_LINK        the link, so that it stays out of the list of processes
"""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@version_option
def cli() -> None:
    """Move a file or folder to any number of machines, no server in the middle.

    \b
    shoal share photos/              prints a link, and shares until Ctrl-C
    shoal get LINK                   fetches it, anywhere
    """


def run(args: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    # What an encoding other than UTF-8 lacks is written as its number.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result = cli.main(args=list(args), prog_name="shoal", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        code, message = 130, "Interrupted."
    except Exception as error:
        if os.environ.get("SHOAL_DEBUG"):
            raise
        code, message = explain(error)
    click.echo(f"shoal: {printable(message)}", err=True)
    if wants_json(args):
        tell_program(code, message)
    return code
