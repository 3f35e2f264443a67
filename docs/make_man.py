"""Write docs/shoal.1, the manual page, from what every `--help` says.

    python docs/make_man.py

With `-` it goes to standard output. The wheel installs it where `man` looks.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from shoal.cli import cli
from shoal.cli.options import EVERYWHERE

WIDTH = 72  # characters of a line, before dashes are escaped
DATE = "2026-11-26"  # of the last change to what the commands are
PAGE = Path(__file__).parent / "shoal.1"


def main() -> None:
    """Write the page."""
    text = "\n".join(page()) + "\n"
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text)


def page() -> Iterator[str]:
    """Yield the lines of the page."""
    context = click.Context(cli, info_name="shoal")
    commands = {
        name: command
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
    }
    yield r".\" Made by docs/make_man.py; change the help of the commands instead."
    yield f'.TH SHOAL 1 {DATE} shoal "User Commands"'
    yield ".SH NAME"
    yield r"shoal \- move a file or folder to any number of machines"
    yield ".SH SYNOPSIS"
    for number, (name, command) in enumerate(commands.items()):
        if number:
            yield ".br"
        yield f".B shoal {name}"
        pieces = command.collect_usage_pieces(click.Context(command, context))
        yield escape(" ".join(pieces))
    yield ".SH DESCRIPTION"
    yield from prose(cli.help or "")
    yield ".SH COMMANDS"
    everywhere = {id(each) for each in EVERYWHERE}
    for name, command in commands.items():
        yield f'.SS "shoal {name}"'
        yield from prose(command.help or "")
        own = [each for each in command.params if id(each) not in everywhere]
        own = [each for each in own if each.name != "version"]
        yield from options(own, click.Context(command, context))
    yield ".SH OPTIONS OF EVERY COMMAND"
    yield "They may stand before the command, too, as may all others."
    yield from options([*EVERYWHERE, *cli.get_params(context)], context)
    for title, text in sections(cli.epilog or ""):
        yield f".SH {title.upper()}"
        yield from prose(text)


def options(params: list[click.Parameter], context: click.Context) -> Iterator[str]:
    """Yield a list of options, without arguments."""
    for each in params:
        record = each.get_help_record(context)
        if record and isinstance(each, click.Option):
            yield ".TP"
            yield f".B {escape(record[0])}"
            yield from fill(record[1])


def sections(epilog: str) -> Iterator[tuple[str, str]]:
    """Split what ends the help into its parts, each of which has a title."""
    for part in epilog.strip().split("\n\n"):
        title, _, text = part.removeprefix("\b\n").partition(":\n")
        yield title, f"\b\n{text}"


def prose(text: str) -> Iterator[str]:
    """Yield paragraphs; what must not be filled stands as it is."""
    for number, part in enumerate(re.split(r"\n\s*\n", text.strip())):
        lines = [line.strip() for line in part.splitlines()]
        if number:
            yield ".PP"
        if lines[0] == "\b":
            yield ".nf"
            yield from map(escape, lines[1:])
            yield ".fi"
        else:
            yield from fill(" ".join(lines))


def fill(text: str) -> Iterator[str]:
    """Yield lines that are not too long for the source of a page."""
    yield from map(escape, textwrap.wrap(text, WIDTH))


def escape(text: str) -> str:
    """Return text that the page's reader takes for nothing else."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    main()
