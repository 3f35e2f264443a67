"""How a node uses the network: what options, variables and Python callers set.

Every field has a variable `SHOAL_<FIELD>` and a key in `config.toml`; an option of the
command line or an argument in Python comes first, then those (`config`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, Unpack

from msgspec import Struct
from msgspec.structs import replace

from shoal.config.file import Defaults
from shoal.config.parse import (
    parse_addresses,
    parse_port,
    parse_rate,
    parse_seconds,
    split_words,
)
from shoal.core.names.address import Address, parse_address
from shoal.errors import UsageError

__all__ = ["Settings", "SettingsFields"]


class SettingsFields(TypedDict, total=False):
    """Name what may be set by a keyword; as text, as its variable would be."""

    peers: str | Iterable[str | Address]
    port: int
    lan_only: bool
    no_lan: bool
    dht_bootstrap: str | Iterable[str | Address]
    limit_up: float | str | None
    limit_down: float | str | None
    interfaces: str | Iterable[str]
    timeout: float | str | None
    origins: str | Iterable[str]


class Settings(Struct, frozen=True, kw_only=True):
    """Say which networks a node uses, and how."""

    peers: tuple[Address, ...] = ()
    """Addresses to try beside what discovery finds (`--peer`)."""
    port: int = 0
    """TCP port to listen on; 0 chooses a free one."""
    lan_only: bool = False
    """Whether to leave the DHT alone."""
    no_lan: bool = False
    """Whether to send no multicast."""
    dht_bootstrap: tuple[Address, ...] = ()
    """Nodes of the DHT to begin with; none means the public ones."""
    limit_up: float | None = None
    """Bytes per second sent of all shares together; None is no limit."""
    limit_down: float | None = None
    """Bytes per second fetched of all shares together; None is no limit."""
    interfaces: tuple[str, ...] = ()
    """Names or addresses that listening and discovery keep to; none means all."""
    timeout: float | None = None
    """Longest wait for a new chunk, in seconds; None is for ever."""
    origins: tuple[str, ...] = ()
    """URLs of servers that have the same bytes as what is fetched (`--origin`)."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the variables: `shoal.Settings.from_environ({"SHOAL_PORT": "4001"})`.

        Without `environ` those of this process and its file.

        Raises `UsageError` that names the variable, or the key, which cannot be read.
        """
        known = Defaults.load() if environ is None else Defaults(environ, {})
        return cls(
            peers=known.read("peer", parse_addresses) or (),
            port=known.read("port", parse_port) or 0,
            lan_only=known.flag("lan-only"),
            no_lan=known.flag("no-lan"),
            dht_bootstrap=known.read("dht-bootstrap", parse_addresses) or (),
            limit_up=known.read("limit-up", parse_rate),
            limit_down=known.read("limit-down", parse_rate),
            interfaces=known.words("interfaces"),
            timeout=known.read("timeout", parse_seconds),
            origins=_origins(known.words("origin")),
        )

    @classmethod
    def of(cls, **fields: Unpack[SettingsFields]) -> "Settings":
        """Return the settings of variables and file with some fields set otherwise.

        `shoal.Settings.of(peers="192.0.2.7:4001", limit_up="10M")`. Raises
        `UsageError`.
        """
        values: dict[str, Any] = dict(fields)
        for name, value in values.items():
            read = _READERS.get(name)
            if read is not None and value is not None:
                values[name] = read(value)
        return replace(cls.from_environ(), **values)


def _addresses(value: str | Iterable[str | Address]) -> tuple[Address, ...]:
    if isinstance(value, str):
        return parse_addresses(value)
    return tuple(parse_address(v) if isinstance(v, str) else v for v in value)


def _origins(value: str | Iterable[str]) -> tuple[str, ...]:
    if not value:
        return ()
    from shoal.core.names.origin_url import parse_origins

    return parse_origins(value)


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(split_words(value)) if isinstance(value, str) else tuple(value)


def _number(read: Callable[[str], float]) -> Callable[[str | float], float]:
    def convert(value: str | float) -> float:
        try:
            number = read(value) if isinstance(value, str) else value
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not number > 0:
            raise UsageError(f"{value} is not above 0; leave it out for no limit.")
        return number

    return convert


_READERS: dict[str, Callable[[Any], Any]] = {
    "peers": _addresses,
    "dht_bootstrap": _addresses,
    "interfaces": _words,
    "limit_up": _number(parse_rate),
    "limit_down": _number(parse_rate),
    "timeout": _number(parse_seconds),
    "origins": _origins,
}
