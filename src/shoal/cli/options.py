"""Make click options from the table of options, and settings from their values."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from shoal import __version__
from shoal.config.combinations import refuse_meaningless
from shoal.config.kinds import COLOR, COLORS, COUNT, FLAG, PATH
from shoal.config.nearest import nearest
from shoal.config.options import EVERY, OPTIONS, Option, options_of
from shoal.config.values import Defaults, resolve
from shoal.errors import UsageError

if TYPE_CHECKING:
    from msgspec import Struct

    from shoal.config.settings import Settings
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link

__all__ = [
    "EVERYWHERE",
    "Command",
    "check_input",
    "check_places",
    "fields_of",
    "link_and_path",
    "link_argument",
    "options_behind_command",
    "read_link",
    "read_share",
    "settings_from",
    "settle_counts",
    "unknown_option",
    "version_option",
    "warn_of_channel",
]

F = TypeVar("F", bound=Callable[..., Any])

MAX_LINK_SIZE = 16384  # characters read from standard input
_TYPES = {id(COLOR): click.Choice(COLORS), id(PATH): click.Path(readable=False)}


def _make(option: Option) -> click.Option:
    """Return an option of the table as click has it.

    Values stay text here: `resolve` reads them, as it does those of variables.
    """
    flags = [option.flag, option.short] if option.short else [option.flag]
    if option.kind is FLAG:
        return click.Option([*flags, option.keyword], is_flag=True, help=option.help)
    may_lack_value = option.metavar.startswith("[")
    more: dict[str, Any] = (
        {"is_flag": False, "flag_value": ""} if may_lack_value else {}
    )
    return click.Option(
        [*flags, option.keyword],
        type=_TYPES.get(id(option.kind), click.STRING),
        multiple=option.kind.is_list,
        metavar=option.metavar or option.kind.metavar,
        help=option.help,
        **more,
    )


EVERYWHERE = [_make(option) for option in OPTIONS if option.commands == EVERY]
"""The options of every command."""


class Command(click.Command):
    """A command with the options that the table gives it.

    Its function gets the value of each: from the command line, a variable, the file
    or the default.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._options = options_of(name)
        own = [each for each in self._options if name in each.commands]
        self.params += [*map(_make, own), *EVERYWHERE]
        version_option(self)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function with the values of all its options."""
        source = ctx.get_parameter_source
        given = {
            name: value
            for name, value in ctx.params.items()
            if source(name) == ParameterSource.COMMANDLINE
        }
        for option in self._options:
            _check_filled(option, given.get(option.keyword))
        # A file that is read again later must not come before these.
        ctx.params["given"] = given
        ctx.params |= resolve(
            self._options, given, Defaults.load(), lambda option: option.flag
        )
        refuse_meaningless(ctx.params)
        return super().invoke(ctx)


def _check_filled(option: Option, value: object) -> None:
    """Raise `UsageError` for an empty value, as from an unset variable of a shell."""
    values = value if isinstance(value, tuple) else (value,)
    may_be_empty = option.kind is COUNT or option.metavar.startswith("[")
    if "" in values and not may_be_empty:
        flag = option.short or option.flag
        raise UsageError(
            f"The value of {flag} is empty; write one, or leave {flag} out."
        )


def version_option(command: F) -> F:
    """Give a command, or the group of commands, `--version`."""
    return click.version_option(__version__, message="shoal %(version)s")(command)


def fields_of(struct: "type[Struct]", options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a command's options that are fields of a struct."""
    names = struct.__struct_fields__
    return {name: options[name] for name in names if name in options}


def settings_from(options: Mapping[str, Any]) -> "Settings":
    """Return the settings of a node, from a command's options."""
    from shoal.config.settings import Settings

    return Settings(**fields_of(Settings, options))


def link_argument(function: F) -> F:
    """Give a command its link or channel; `-` reads it from standard input."""
    return click.argument("link", envvar="SHOAL_LINK")(function)


def link_and_path(link: str, path: str | None) -> tuple[str, str | None]:
    """Return the link and the path, where SHOAL_LINK may replace the first argument.

    Raises `UsageError` if the path is empty.
    """
    from shoal.core.names.link_text import has_link_form

    usual = os.environ.get("SHOAL_LINK")
    if usual and path is None and link not in (usual, "-"):
        if not has_link_form(link):
            return usual, link
    if path == "":
        raise UsageError("PATH is empty; name a file.")
    return link, path


def check_input() -> None:
    """Raise `UsageError` if standard input is closed or cannot be read."""
    try:
        os.read(0, 0)
    except OSError:
        raise UsageError(
            "Standard input is closed or cannot be read; redirect a file or pipe to it."
        ) from None


def read_link(text: str) -> str:
    """Return the link in an argument or, if that is `-`, on standard input."""
    if not text.strip():
        raise UsageError("LINK is empty; paste the link that shoal share printed.")
    if text != "-":
        return text
    check_input()
    line = sys.stdin.readline(MAX_LINK_SIZE).strip()
    if not line:
        raise UsageError("There is no link on standard input; write it on one line.")
    return line


def read_share(text: str) -> "Link | Channel":
    """Return what an argument names; raises `UsageError`."""
    from shoal.core.names.channel_id import parse_channel
    from shoal.core.names.link_text import looks_like_link

    text = read_link(text)
    if looks_like_link(text):
        from shoal.core.names.link import parse_share

        return parse_share(text)
    return parse_channel(text)  # needs no modules of links


def warn_of_channel(channel: "Channel") -> None:
    """Say of a named channel that it is one, before anything is done with it.

    A mistyped link may become such a name.
    """
    from shoal.cli.output import printable, write_message

    if not channel.is_hash:
        write_message(
            f"shoal: {printable(channel.id)} is the name of an open channel, which is "
            "neither encrypted nor verified: anyone can answer for it."
        )


def check_places(places: Sequence[str]) -> None:
    """Raise `UsageError` unless there is a path, and none is empty."""
    if not places:
        raise click.UsageError("Missing argument 'PATH'.", click.get_current_context())
    if not all(places):
        raise UsageError("PATH is empty; name a file or folder.")


_TAKES_VALUE = {
    name: option.kind is not FLAG
    for option in OPTIONS
    if option.commands
    for name in filter(None, (option.flag, option.short))
}


_COUNTS = {option.flag for option in OPTIONS if option.kind is COUNT}


# So that a number which is not valid is reported as that, and not as a path.
_LIKE_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]*)?")


def settle_counts(args: Sequence[str]) -> list[str]:
    """Join each option that may lack its number with it, or with 1.

    Otherwise `--once photos/` would take the path as its value.
    """
    settled: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*settled, word, *rest]
        if word in _COUNTS:
            is_number = bool(rest) and _LIKE_NUMBER.fullmatch(rest[0])
            word += f"={rest.pop(0) if is_number else 1}"
        settled.append(word)
    return settled


def options_behind_command(args: Sequence[str]) -> list[str]:
    """Move options that stand before the command behind it.

    They mean the same in both places, but only the command knows its options. Raises
    `click.NoSuchOption`.
    """
    place = 0
    while place < len(args) and args[place].startswith("-") and len(args[place]) > 1:
        word = args[place]
        if word == "--":
            break
        if word in ("--help", "-h", "--version"):
            return [word]
        if name := _unknown(word):
            raise click.NoSuchOption(name, possibilities=_long(_TAKES_VALUE))
        place += _width(word)
    if place >= len(args):
        return []
    return [*args[place : place + 1], *args[:place], *args[place + 1 :]]


def _unknown(word: str) -> str | None:
    """Return the option in a word that does not exist, or None."""
    if word.startswith("--"):
        name = word.partition("=")[0]
        return None if name in _TAKES_VALUE else name
    for letter in word[1:]:
        name = f"-{letter}"
        if _TAKES_VALUE.get(name, True):  # the rest of the word is its value
            return None if name in _TAKES_VALUE else name
    return None


def _width(word: str) -> int:
    """Return how many words an option and its value take up."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return 2 if _TAKES_VALUE.get(name) and not equals else 1
    for place, letter in enumerate(word[1:], 2):
        if _TAKES_VALUE.get(f"-{letter}"):
            return 2 if place == len(word) else 1
    return 1


def _long(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith("--")]


_RECURSIVE = ("--recursive", "-r", "-R")
"""Options that other programs have, and shoal does not need."""


def unknown_option(error: click.NoSuchOption) -> str:
    """Return a sentence about an option that a command does not have."""
    if error.option_name in _RECURSIVE:
        return (
            f"A folder always includes its subfolders; leave out {error.option_name}."
        )
    for option in OPTIONS:
        if option.flag == error.option_name and not option.commands:
            return f"{option.flag} is not an option; set {option.variable} instead."
    if error.ctx is not None and error.option_name in _TAKES_VALUE:
        command = error.ctx.command_path
        return f"{command} has no option {error.option_name}; leave it out."
    known = error.possibilities or []
    if error.ctx is not None:
        known = _long(name for each in error.ctx.command.params for name in each.opts)
    return f"There is no option {error.option_name}{nearest(error.option_name, known)}"
