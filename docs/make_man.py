"""Write docs/shoal.1, the manual page, and the tables of docs/command-line.md.

    python docs/make_man.py

Both follow from the help of the commands and from the table of options
(`shoal.config.options`). With `-`, the manual page goes to standard output, and with
`-t` or `-c` the table of options or of commands. The wheel installs the page where
`man` looks.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from shoal.cli import cli
from shoal.cli.options import EVERYWHERE
from shoal.config.arguments import FetchFields, ShareFields
from shoal.config.options import EVERY, NETWORK, OPTIONS, Option
from shoal.config.settings import SettingsFields

STRUCTS = {
    "Settings": SettingsFields.__optional_keys__,
    "ShareOptions": ShareFields.__optional_keys__,
    "FetchOptions": FetchFields.__optional_keys__,
}
WIDTH = 72  # characters of a line, before dashes are escaped
DATE = "2026-12-01"  # of the last change to what the commands are
PAGE = Path(__file__).parent / "shoal.1"
TABLE = Path(__file__).parent / "command-line.md"


def main() -> None:
    """Write the page and the table."""
    tables = ("\n".join(lines) + "\n" for lines in (page(), table(), by_command()))
    man, options_table, commands_table = tables
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(man)
    elif sys.argv[1:] == ["-t"]:
        sys.stdout.write(options_table)
    elif sys.argv[1:] == ["-c"]:
        sys.stdout.write(commands_table)
    else:
        PAGE.write_text(man)
        replace("options", options_table)
        replace("commands", commands_table)


def replace(name: str, made: str) -> None:
    """Put a table between its marks in docs/command-line.md."""
    begin = f"<!-- {name}: made by make_man.py -->\n\n"
    end = f"\n<!-- end of {name} -->"
    before, _, rest = TABLE.read_text().partition(begin)
    _, mark, after = rest.partition(end)
    assert mark
    TABLE.write_text(before + begin + made + end + after)


def table() -> Iterator[str]:
    """Yield the lines of a table of all options, in Markdown."""
    yield "| option | commands | in Python | effect |"
    yield "|---|---|---|---|"
    for option in OPTIONS:
        others = [each for each in option.commands if each not in NETWORK]
        words = ["network", *others] if is_of_network(option) else option.commands
        commands = "all" if option.commands == EVERY else ", ".join(words)
        name = option.keyword
        structs = (struct for struct, names in STRUCTS.items() if name in names)
        python = " and ".join(f"`{struct}.{name}`" for struct in structs)
        cells = (flags(option), commands or "–", python or "–", option.help)
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def by_command() -> Iterator[str]:
    """Yield the lines of a table of all commands with their own options."""
    yield "| command | effect | options of its own |"
    yield "|---|---|---|"
    context = click.Context(cli, info_name="shoal")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        pieces = command.collect_usage_pieces(click.Context(command, context))
        usage = " ".join(["shoal", name, *pieces[1:]])
        own = (row.flag for row in OPTIONS if is_own(row, name))
        effect = command.get_short_help_str(limit=120)
        cells = (f"`{usage}`", effect, " ".join(f"`{flag}`" for flag in own) or "–")
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def is_of_network(option: Option) -> bool:
    """Return True if all commands that use the network have the option."""
    return set(NETWORK) <= set(option.commands)


def is_own(option: Option, command: str) -> bool:
    """Return True if an option is described with its command, not with a group."""
    in_group = is_of_network(option) and command in NETWORK
    return command in option.commands and not in_group


def flags(option: Option) -> str:
    """Return how an option is written on the command line, or else its variable."""
    if not option.commands:
        return f"`{option.variable}`"
    value = option.metavar or option.kind.metavar
    names = ", ".join(filter(None, (option.short, option.flag)))
    return f"`{names} {value}`" if value else f"`{names}`"


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
    yield r"shoal \- copy a file or folder to any number of machines"
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
    everywhere = [*EVERYWHERE, *cli.get_params(context)]
    network: list[click.Parameter] = []
    for name, command in commands.items():
        yield f'.SS "shoal {name}"'
        yield from prose(command.help or "")
        rows = {row.keyword: row for row in OPTIONS if is_own(row, name)}
        own = [each for each in command.params if each.name in rows]
        yield from options(own, click.Context(command, context))
        if name == NETWORK[0]:
            shared = {row.keyword for row in OPTIONS if is_of_network(row)}
            network = [each for each in command.params if each.name in shared]
    yield ".SH OPTIONS OF COMMANDS THAT USE THE NETWORK"
    *first, last = NETWORK
    yield from fill(f"These are options of {', '.join(first)} and {last}.")
    yield from options(network, context)
    yield ".SH OPTIONS OF EVERY COMMAND"
    yield "All options may also stand before the command."
    yield from options(everywhere, context)
    for title, text in sections(cli.epilog or ""):
        yield f".SH {title.upper()}"
        yield from prose(text)


def options(params: list[click.Parameter], context: click.Context) -> Iterator[str]:
    """Yield the options among the parameters of a command."""
    for each in params:
        record = each.get_help_record(context)
        if record and isinstance(each, click.Option):
            yield ".TP"
            yield f".B {escape(record[0])}"
            yield from fill(record[1])


def sections(epilog: str) -> Iterator[tuple[str, str]]:
    """Split the end of the help into its titles and texts."""
    for part in epilog.strip().split("\n\n"):
        title, _, text = part.removeprefix("\b\n").partition(":\n")
        yield title, f"\b\n{text}"


def prose(text: str) -> Iterator[str]:
    """Yield paragraphs; those that `--help` does not wrap keep their lines."""
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
    """Yield text in lines of at most `WIDTH` characters."""
    yield from map(escape, textwrap.wrap(text, WIDTH, break_on_hyphens=False))


def escape(text: str) -> str:
    """Return text in which no character is a command of roff."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    main()
