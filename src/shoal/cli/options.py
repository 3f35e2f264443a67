"""Options that several commands share, and how their values are read.

Every option has a variable, `SHOAL_` and its name in capitals, and a key in
`config.toml` (`shoal.config.file`).
"""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from shoal import __version__
from shoal.config.file import variable_of
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.config.settings import Settings

__all__ = [
    "EVERYWHERE",
    "PATH",
    "SECONDS",
    "SIZE",
    "everywhere",
    "key_of",
    "link_and_path",
    "link_argument",
    "option",
    "pattern_options",
    "rate_option",
    "read_link",
    "settings_from",
    "version_option",
]

F = TypeVar("F", bound=Callable[..., Any])

MAX_LINK_SIZE = 16384  # characters read from standard input


class _Seconds(click.ParamType[float]):
    """Read a length of time in seconds, or as `10m`."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from shoal.config.parse import parse_seconds

        try:
            return parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Size(click.ParamType[int]):
    """Read a number of bytes, as `64K` or `1M`."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        from shoal.config.parse import parse_size

        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Rate(click.ParamType[int]):
    """Read bytes per second, more than none."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        from shoal.config.parse import parse_rate

        try:
            return parse_rate(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


# No more than a hint for who completes words: nothing is looked at.
PATH = click.Path(readable=False)
SECONDS = _Seconds()
RATE = _Rate()
SIZE = _Size()


def key_of(names: Iterable[str]) -> str:
    """Return an option's key in `config.toml`: its long name without dashes."""
    return next(name for name in names if name.startswith("--"))[2:]


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Give a command an option, and that its variable."""
    variable = variable_of(key_of(names))
    return click.option(*names, envvar=variable, **settings)


def _option(*names: str, **settings: Any) -> click.Option:
    return click.Option(names, envvar=variable_of(key_of(names)), **settings)


_NETWORK = [
    _option(
        "--peer",
        "peers",
        multiple=True,
        metavar="HOST:PORT",
        help="Try this address beside what is found; may be repeated.",
    ),
    _option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        metavar="N",
        help="Listen on this TCP port; a free one by default.",
    ),
    _option("--lan-only", is_flag=True, help="Look on the LAN only, not on the DHT."),
    _option("--no-lan", is_flag=True, help="Send no multicast on the LAN."),
    _option(
        "--dht-bootstrap",
        multiple=True,
        metavar="HOST:PORT",
        help="Enter the DHT here instead of at the public nodes; may be repeated.",
    ),
    _option(
        "--origin",
        "origins",
        multiple=True,
        metavar="URL",
        help="A server that has the same bytes, as https://host/file or s3://bucket/; "
        "may be repeated.",
    ),
]
_OUTPUT = [
    _option("--quiet", "-q", is_flag=True, help="Say nothing but errors."),
    _option("--verbose", "-v", is_flag=True, help="Say more."),
    _option("--json", "as_json", is_flag=True, help="Print events as JSON lines."),
    _option("--no-progress", is_flag=True, help="Show no progress."),
    _option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        metavar="WHEN",
        help="Use colours: auto, always or never.",
    ),
]
EVERYWHERE = [*_NETWORK, *_OUTPUT]
"""Options of every command, also accepted before the command's name."""


def version_option(function: F) -> F:
    """Give a command, or the group of them, `--version`."""
    return click.version_option(__version__, message="shoal %(version)s")(function)


def everywhere(command: F) -> F:
    """Give a command the options that stand everywhere."""
    assert isinstance(command, click.Command)
    command.params.extend(EVERYWHERE)
    return version_option(command)


def pattern_options(verb: str) -> Callable[[F], F]:
    """Give a command `--include` and `--exclude`; `verb` is what it does to files."""

    def give(function: F) -> F:
        function = option(
            "--exclude",
            multiple=True,
            metavar="GLOB",
            help="Of a folder, leave out what fits; may be repeated.",
        )(function)
        return option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help=f"Of a folder, {verb} only what fits; may be repeated.",
        )(function)

    return give


def rate_option(direction: str, verb: str) -> Callable[[F], F]:
    """Give a command `--limit-up` or `--limit-down`."""
    return option(
        f"--limit-{direction}",
        type=RATE,
        metavar="N",
        help=f"{verb} at most so many bytes per second, as 10M.",
    )


def link_argument(function: F) -> F:
    """Give a command its link or channel; `-` reads it from standard input."""
    return click.argument("link", envvar="SHOAL_LINK")(function)


def link_and_path(link: str, path: str | None) -> tuple[str, str | None]:
    """Tell a link from a path where SHOAL_LINK stands in for the former."""
    import os

    from shoal.core.names.channel_id import looks_like_link

    usual = os.environ.get("SHOAL_LINK")
    if usual and path is None and link not in (usual, "-"):
        if not looks_like_link(link):
            return usual, link
    return link, path


def read_link(text: str) -> str:
    """Return the link itself, be it an argument or on standard input."""
    if text != "-":
        return text
    line = sys.stdin.readline(MAX_LINK_SIZE).strip()
    if not line:
        raise UsageError("There is no link on standard input; write it on one line.")
    return line


def settings_from(options: dict[str, Any]) -> "Settings":
    """Return how the network is used, from a command's options."""
    from shoal.config.file import Defaults
    from shoal.config.parse import parse_addresses
    from shoal.config.settings import Settings

    origins: tuple[str, ...] = ()
    if options["origins"]:
        from shoal.core.names.origin_url import parse_origins

        origins = parse_origins(options["origins"])

    def addresses(values: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple(each for text in values for each in parse_addresses(text))

    return Settings(
        peers=addresses(options["peers"]),
        port=options["port"],
        lan_only=options["lan_only"],
        no_lan=options["no_lan"],
        dht_bootstrap=addresses(options["dht_bootstrap"]),
        limit_up=options.get("limit_up"),
        limit_down=options.get("limit_down"),
        interfaces=Defaults.load().words("interfaces"),
        origins=origins,
    )
