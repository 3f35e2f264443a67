"""How a node uses the network: what options, variables and Python callers set.

Every field has a variable `SHOAL_<FIELD>`; an option of the command line or an
argument in Python comes first, then the variable, then the default.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, Unpack

from msgspec import Struct
from msgspec.structs import replace

from shoal.core.address import Address, parse_address
from shoal.errors import UsageError

__all__ = [
    "Settings",
    "SettingsFields",
    "parse_addresses",
    "parse_flag",
    "parse_rate",
    "parse_seconds",
    "parse_size",
    "split_words",
]

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("", "0", "false", "no", "off"))
_SIZE = re.compile(r"([0-9]{1,15})([KMGkmg]?)i?[Bb]?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0}


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
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables: `shoal.Settings.from_environ({"SHOAL_PORT": "4001"})`.

        Raises `UsageError` that names the variable which cannot be read.
        """
        return cls(
            peers=parse_addresses(environ.get("SHOAL_PEER", "")),
            port=_parse_port(environ.get("SHOAL_PORT", "0")),
            lan_only=parse_flag("SHOAL_LAN_ONLY", environ),
            no_lan=parse_flag("SHOAL_NO_LAN", environ),
            dht_bootstrap=parse_addresses(environ.get("SHOAL_DHT_BOOTSTRAP", "")),
            limit_up=_parse("SHOAL_LIMIT_UP", environ, parse_rate),
            limit_down=_parse("SHOAL_LIMIT_DOWN", environ, parse_rate),
            interfaces=tuple(split_words(environ.get("SHOAL_INTERFACES", ""))),
            timeout=_parse("SHOAL_TIMEOUT", environ, parse_seconds),
            origins=_origins(environ.get("SHOAL_ORIGIN", "")),
        )

    @classmethod
    def of(cls, **fields: Unpack[SettingsFields]) -> "Settings":
        """Return the variables' settings with some fields set otherwise.

        `shoal.Settings.of(peers="192.0.2.7:4001", limit_up="10M")`. Raises
        `UsageError`.
        """
        values: dict[str, Any] = dict(fields)
        for name, value in values.items():
            read = _READERS.get(name)
            if read is not None and value is not None:
                values[name] = read(value)
        return replace(cls.from_environ(), **values)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read several `HOST:PORT`, separated by commas or spaces."""
    return tuple(parse_address(word) for word in split_words(text))


def parse_flag(name: str, environ: Mapping[str, str]) -> bool:
    """Read a variable that says yes or no."""
    value = environ.get(name, "").strip().lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise UsageError(f"{name} is {value[:40]!r}; set it to 1 or 0.")


def parse_size(text: str) -> int:
    """Read bytes, as `512`, `64K` or `2G`; raises `ValueError`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a size; write bytes, or 64K, 1M, 2G.")
    return int(match[1]) * _UNITS[match[2].lower()]


def parse_rate(text: str) -> int:
    """Read bytes per second, more than none; raises `ValueError`."""
    rate = parse_size(text)
    if not rate:
        raise ValueError("A rate of 0 would never end; leave it out.")
    return rate


def parse_seconds(text: str) -> float:
    """Read a length of time above 0, as `90`, `10m` or `2h`; raises `ValueError`."""
    unit = _TIMES.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text[:40]!r} is not a number of seconds above 0.")
    return seconds


def _parse(
    name: str, environ: Mapping[str, str], read: Callable[[str], float]
) -> float | None:
    text = environ.get(name, "").strip()
    try:
        return read(text) if text else None
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _addresses(value: str | Iterable[str | Address]) -> tuple[Address, ...]:
    if isinstance(value, str):
        return parse_addresses(value)
    return tuple(parse_address(v) if isinstance(v, str) else v for v in value)


def _origins(value: str | Iterable[str]) -> tuple[str, ...]:
    if not value:
        return ()
    from shoal.core.origin_url import parse_origins

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


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise UsageError(f"SHOAL_PORT is {text[:40]!r}; set it to a number up to 65535.")


def split_words(text: str) -> list[str]:
    """Split at commas and white space."""
    return text.replace(",", " ").split()
