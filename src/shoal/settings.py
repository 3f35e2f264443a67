"""How a node uses the network: what options, variables and Python callers set.

Every field has a variable `SHOAL_<FIELD>`; an option of the command line or an
argument in Python comes first, then the variable, then the default.
"""

import os
from collections.abc import Mapping

from msgspec import Struct

from shoal.core.address import Address, parse_address
from shoal.errors import UsageError

__all__ = ["Settings", "parse_addresses", "parse_flag", "split_words"]

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("", "0", "false", "no", "off"))


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

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables.

        Raises `UsageError` that names the variable which cannot be read.
        """
        return cls(
            peers=parse_addresses(environ.get("SHOAL_PEER", "")),
            port=_parse_port(environ.get("SHOAL_PORT", "0")),
            lan_only=parse_flag("SHOAL_LAN_ONLY", environ),
            no_lan=parse_flag("SHOAL_NO_LAN", environ),
            dht_bootstrap=parse_addresses(environ.get("SHOAL_DHT_BOOTSTRAP", "")),
            interfaces=tuple(split_words(environ.get("SHOAL_INTERFACES", ""))),
        )


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read several `HOST:PORT`, separated by commas or spaces."""
    return tuple(parse_address(word) for word in split_words(text))


def parse_flag(name: str, environ: Mapping[str, str]) -> bool:
    """Read a variable that says yes or no."""
    value = environ.get(name, "").strip().lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    raise UsageError(f"{name} is {value[:40]!r}; set it to 1 or 0.")


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise UsageError(f"SHOAL_PORT is {text[:40]!r}; set it to a number up to 65535.")


def split_words(text: str) -> list[str]:
    """Split at commas and white space."""
    return text.replace(",", " ").split()
