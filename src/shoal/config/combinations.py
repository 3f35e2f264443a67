"""The one table of options that cannot mean anything together.

A row refuses an option that is given on the command line. A variable or `config.toml`
may set it: they are for many commands, and it has no effect where it means nothing.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, NamedTuple

from shoal.config.options import OPTIONS, options_of
from shoal.errors import UsageError

__all__ = ["Case", "refuse_meaningless"]


class Case(Enum):
    """Name what the arguments of a command are about, where options depend on it."""

    CHANNEL = "an open channel"
    PIPE = "standard input is shared"
    STDOUT = "a share is written to standard output"
    ONE_FILE = "one file of a folder is downloaded"
    LINK = "a link is given"


class _Row(NamedTuple):
    """Options that mean nothing where an option is set, or in a case."""

    where: str | Case
    """The name of an option, `no` and the name of one that is not set, or a case."""
    names: tuple[str, ...]
    """The options that mean nothing there."""
    text: str
    """What to say; `{0}` is the option that was given."""
    counts_defaults: bool = False
    """Whether a variable or the file may not set them there, either."""
    is_mutual: bool = False
    """Whether the one on the command line replaces another that is not."""


_ONLY_LINKS = (
    *("name", "include", "exclude", "follow-symlinks", "keep-exec", "public"),
    *("new-link", "once", "link-file", "background", "code", "code-for", "qr"),
    *("http", "metrics", "relay", "origin"),
)
_BY_ITSELF = ("uninstall", "quiet", "verbose", "json", "no-progress", "color")

_ROWS = (
    _Row(
        "quiet",
        ("verbose",),
        "-q and -v are opposites; give one of them.",
        is_mutual=True,
    ),
    _Row(
        "lan-only",
        ("dht-bootstrap",),
        "--lan-only does not use the DHT; leave out one of --lan-only and {0}.",
    ),
    _Row(Case.CHANNEL, _ONLY_LINKS, "{0} is not for open channels; leave it out."),
    # Sharing.
    _Row(
        Case.PIPE,
        ("include", "exclude", "follow-symlinks"),
        "Standard input is shared as one file, and {0} is for the files of a folder; "
        "leave out {0}.",
    ),
    _Row(Case.PIPE, ("open",), "An open channel shares a file; name it in place of -."),
    _Row(
        "public",
        ("new-link",),
        "--public gives everyone the same link for the same bytes, and {0} gives a new "
        "one; use one of them.",
    ),
    _Row("no code", ("code-for",), "{0} needs a code; add --code."),
    _Row(
        "json",
        ("qr",),
        "{0} draws for people, and --json is for programs; give one of them.",
    ),
    # Downloading.
    _Row(
        Case.LINK,
        ("input-file",),
        "{0} reads the links from a file; leave out LINK.",
    ),
    _Row(
        "out",
        ("folder",),
        "-o names the target and -C its folder; give one of them.",
        is_mutual=True,
    ),
    _Row("input-file", ("out",), "-o names the target of one link; with -i, use -C."),
    _Row(
        Case.ONE_FILE,
        ("include", "exclude"),
        "A path in the share names one file; leave out {0}.",
    ),
    _Row(
        Case.STDOUT,
        ("json", "seed", "seed-for"),
        "-o - writes only the bytes of the file; leave out --json and --seed.",
        counts_defaults=True,
    ),
    _Row(
        Case.STDOUT,
        ("force", "keep-exec", "include", "exclude"),
        "-o - writes to standard output, and {0} is for files; leave out {0}.",
    ),
    # The service.
    _Row(
        "uninstall",
        ("install",),
        "--install and --uninstall are opposites; give one.",
    ),
    _Row(
        "uninstall",
        tuple(each.name for each in options_of("seed") if each.name not in _BY_ITSELF),
        "--uninstall removes the service, whatever its options; leave out {0}.",
    ),
)


def refuse_meaningless(options: Mapping[str, Any], *cases: Case) -> None:
    """Raise `UsageError` for an option that means nothing beside others or in a case.

    `options` are those of the command, with those of the command line as `given`.
    """
    for row in _ROWS:
        if not _holds(row, options, cases):
            continue
        for name in row.names:
            option = _BY_NAME[name]
            is_given = row.counts_defaults or option.keyword in options["given"]
            if is_given and _is_set(name, options):
                raise UsageError(row.text.format(option.short or option.flag))


_BY_NAME = {option.name: option for option in OPTIONS}


def _holds(row: _Row, options: Mapping[str, Any], cases: Collection[Case]) -> bool:
    """Return True if a row applies."""
    if isinstance(row.where, Case):
        return row.where in cases
    name = row.where.removeprefix("no ")
    keyword = _BY_NAME[name].keyword
    if row.is_mutual and keyword not in options["given"]:
        return False
    return keyword in options and _is_set(name, options) is (name == row.where)


def _is_set(name: str, options: Mapping[str, Any]) -> bool:
    """Return True if an option has a value that has an effect."""
    return options.get(_BY_NAME[name].keyword) not in (None, False, ())
