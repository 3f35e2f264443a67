"""The words of a command line: where its command is, and what a mistyped one meant."""

from collections.abc import Iterable, Mapping, Sequence

import click

from shoal.cli.options import EVERYWHERE

__all__ = ["nearest", "options_behind_command", "unknown_option"]

_ALONE = ("--help", "-h", "--version")


def options_behind_command(
    args: Sequence[str], others: Iterable[click.Command]
) -> list[str]:
    """Move options that stand before the command behind it.

    They mean the same in both places, and commands know them. `others` are looked at
    only for an option that is not everywhere. Raises `click.NoSuchOption`.
    """
    takes_value = _takes_value(EVERYWHERE)
    place = 0
    while place < len(args) and args[place].startswith("-") and len(args[place]) > 1:
        word = args[place]
        if word == "--":
            break
        if word in _ALONE:
            return [word]
        if _unknown(word, takes_value):
            takes_value |= _takes_value(p for each in others for p in each.params)
        if name := _unknown(word, takes_value):
            known = [each for each in takes_value if each.startswith("--")]
            raise click.NoSuchOption(name, possibilities=known)
        place += _width(word, takes_value)
    if place >= len(args):
        return []
    return [*args[place : place + 1], *args[:place], *args[place + 1 :]]


def _takes_value(params: Iterable[click.Parameter]) -> dict[str, bool]:
    """Say of each option whether the next word is its value."""
    return {
        name: not (each.is_flag or each.count)
        for each in params
        if isinstance(each, click.Option)
        for name in each.opts
    }


def _unknown(word: str, known: Mapping[str, bool]) -> str | None:
    """Return the option in a word that is not known, or None."""
    if word.startswith("--"):
        name = word.partition("=")[0]
        return None if name in known else name
    for letter in word[1:]:
        name = f"-{letter}"
        if known.get(name, True):  # what follows is its value
            return None if name in known else name
    return None


def _width(word: str, takes_value: Mapping[str, bool]) -> int:
    """Return how many words an option and its value take up."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return 2 if takes_value.get(name) and not equals else 1
    for place, letter in enumerate(word[1:], 2):
        if takes_value.get(f"-{letter}"):
            return 2 if place == len(word) else 1
    return 1


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?`, or a full stop where nothing is near."""
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), known, 1)
    return f"; did you mean {near[0]}?" if near else "."


def unknown_option(error: click.NoSuchOption) -> str:
    """Return a sentence on an option that is not there."""
    if error.ctx is None:
        known = error.possibilities or []
    else:
        known = [n for n in _takes_value(error.ctx.command.params) if n[:2] == "--"]
    return f"There is no option {error.option_name}{nearest(error.option_name, known)}"
