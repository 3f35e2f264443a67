"""The command line: each command is a function of its name, which may be a coroutine.

Only this package prints or exits. A command's module is imported when that command
runs, and the modules that it needs of shoal inside its function, so that
`shoal --help` imports click and nothing heavier.
"""

import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING

import click

from shoal.cli.options import (
    options_behind_command,
    settle_counts,
    unknown_option,
    version_option,
)
from shoal.cli.output import (
    SCHEMA_VERSION,
    ReaderGoneError,
    explain_output_error,
    printable,
    write_message,
    writing_output,
)
from shoal.config.nearest import nearest
from shoal.config.options import OPTIONS
from shoal.config.values import Defaults
from shoal.errors import (
    NO_DESCRIPTORS,
    ShoalError,
    UsageError,
    use_command_line_words,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["cli", "run"]

_COMMANDS = {
    "share": "Share a file or folder and print its link.",
    "link": "Print the link of a file or folder without sharing it.",
    "get": "Download a share from all peers that have it.",
    "cat": "Write a file of a share to standard output.",
    "ls": "List the files of a share.",
    "info": "Describe a share: its name, size and chunks.",
    "serve": "Serve shares over HTTP, for a browser or media player.",
    "verify": "Check that a file or folder matches a link.",
    "chunk": "Write one chunk of a share to standard output.",
    "list": "List what you have shared and downloaded.",
    "seed": "Share again all that you have shared and downloaded.",
    "stop": "End shares that run in the background.",
    "forget": "Remove a share from the list; its files stay.",
    "clean": "List or remove unfinished downloads.",
    "doctor": "Check this machine and network, and say how to fix problems.",
    "completion": "Print the script that completes commands and options in a shell.",
}
_MODULES = {
    **dict.fromkeys(("cat", "ls", "info", "verify", "chunk"), "read"),
    "list": "listing",  # a module `list` would hide the type in this one
    **dict.fromkeys(("forget", "clean"), "remembered"),
}
"""The modules of commands that do not have one of their own."""


class _Commands(click.Group):
    """The commands by name, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"shoal.cli.{_MODULES.get(name, name)}")
        # A function cannot be called `list` without hiding the type.
        command = getattr(module, f"{name}_" if name == "list" else name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if not word:
            ctx.fail("The name of the command is empty")
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
                for each in OPTIONS
                for name in (each.flag, each.short)
                if each.commands and name.startswith(incomplete)
            ]
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            moved = options_behind_command(settle_counts(args))
            if args and not moved and not ctx.resilient_parsing:
                ctx.fail("Name a command")
            args = moved or ["--help"]
        except click.NoSuchOption:
            if not ctx.resilient_parsing:
                raise
        return super().parse_args(ctx, args)


_EPILOG = """
\b
Exit codes:
0    success
1    any other failure, e.g. no such file, or target in use by another shoal
2    wrong command line, or mistyped link
3    no peer has the share, or it has no such file
4    permission denied
5    verification failed
6    the target exists
7    incomplete; run the same command again to resume
8    the code is wrong or in use
9    the disk is full
129  the terminal was closed
130  interrupted
141  the program that read standard output has closed it
143  terminated

\b
Environment and files:
Every option has a variable, e.g. SHOAL_LIMIT_UP=10M, and a key in the file
~/.config/shoal/config.toml, e.g. limit-up = "10M". The command line comes
first, then variables, then the file.
SHOAL_CONFIG      path of another file to read instead
SHOAL_INTERFACES  network interfaces or addresses to use, e.g. lo,eth0
SHOAL_LINK        the link, to keep it out of the list of processes
"""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@version_option
def cli() -> None:
    """Copy a file or folder to any number of machines, without a server.

    \b
    shoal share photos/              prints a link, and shares until Ctrl-C
    shoal get LINK                   downloads it, on any machine
    shoal share photos/ --code       also prints a code to read out by phone
    shoal get CODE                   takes the code in place of the link
    """


def run(args: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    # Characters that the encoding of standard output lacks are written as escapes.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with use_command_line_words():
        return _run(args)


def _run(args: Sequence[str]) -> int:
    try:
        result = _main(args)
        if isinstance(result, Coroutine):
            from shoal.cli.runner import run_command

            run_command(result)
        with writing_output():
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort):
        code, message = 130, "Interrupted."
    except ReaderGoneError as error:
        return error.exit_code
    except Exception as error:
        if os.environ.get("SHOAL_DEBUG"):
            raise
        code, message = _explain(error)
    write_message(f"shoal: {printable(message)}")
    if _wants_json(args):
        _write_json_error(code, message)
    return code


def _main(args: Sequence[str]) -> object:
    """Run click; return what the command returned."""
    try:
        return cli.main(args=list(args), prog_name="shoal", standalone_mode=False)
    except SystemExit:
        # Click exits itself when the reader of a help text has closed the pipe.
        raise ReaderGoneError from None


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the message for an error."""
    match error:
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
        case _ if _lacks_descriptors(error):
            return 1, NO_DESCRIPTORS
        case OSError(filename=None):
            failed = explain_output_error(error)
            return failed.exit_code, str(failed)
        case MemoryError():
            return 1, (
                "There is not enough memory; end other programs, "
                "or raise the limit (ulimit -v)."
            )
        case _:
            return 1, (
                f"This is a bug in shoal: {type(error).__name__}: {error}. Set "
                "SHOAL_DEBUG=1 to see where it is, and please report it."
            )


def _lacks_descriptors(error: BaseException | None) -> bool:
    """Return True if an error follows from a lack of file descriptors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _wants_json(args: Sequence[str]) -> bool:
    """Return True if option, variable or file ask for JSON lines."""
    (option,) = (each for each in OPTIONS if each.name == "json")
    try:
        return "--json" in args or Defaults.load().value(option) is True
    except ShoalError:
        return False


def _write_json_error(code: int, message: str) -> None:
    """End the JSON lines with the error that ended the command."""
    import json

    line = {"v": SCHEMA_VERSION, "event": "error", "code": code, "message": message}
    with contextlib.suppress(OSError):
        click.echo(json.dumps(line, separators=(",", ":")))
