"""What a Python caller can set for a node: the networks it uses, and how.

The rest of shoal works with `Settings`. `SettingsFields` are the keywords of a call;
they also take text in place of an address, and one text in place of several. A setting
that a call leaves out has the value of its variable or of its key in `config.toml`
(`shoal.config.options` has the table).
"""

from collections.abc import Iterable, Mapping
from typing import TypedDict, Unpack

from msgspec import Struct

from shoal.core.names.address import Address

__all__ = ["Settings", "SettingsFields"]


class SettingsFields(TypedDict, total=False):
    """Type the keywords of a call that uses the network."""

    peers: str | Address | Iterable[str | Address]
    port: int
    lan_only: bool
    no_lan: bool
    no_map: bool
    dht_bootstrap: str | Address | Iterable[str | Address]
    relays: str | Address | Iterable[str | Address]
    limit_up: float | str | None
    limit_down: float | str | None
    interfaces: str | Iterable[str]
    timeout: float | str | None
    origins: str | Iterable[str]


class Settings(Struct, frozen=True, kw_only=True):
    """Choose the networks of a node, and how it uses them."""

    peers: tuple[Address, ...] = ()
    """Addresses to connect to besides those that discovery finds (`--peer`)."""
    port: int = 0
    """TCP port to listen on; 0 chooses a free one."""
    lan_only: bool = False
    """Whether to find peers on the LAN only, without the DHT."""
    no_lan: bool = False
    """Whether to send no multicast."""
    no_map: bool = False
    """Whether to have the router map no port; with `lan_only` none is mapped either."""
    dht_bootstrap: tuple[Address, ...] = ()
    """Nodes to join the DHT through; empty means the public ones."""
    relays: tuple[Address, ...] = ()
    """Transit relays at which peers are met that cannot be reached otherwise."""
    limit_up: float | None = None
    """Bytes per second to upload, all shares together; None is no limit."""
    limit_down: float | None = None
    """Bytes per second to download, all shares together; None is no limit."""
    interfaces: tuple[str, ...] = ()
    """Names or addresses of the network interfaces to use; empty means all."""
    timeout: float | None = None
    """Longest wait for a new chunk, in seconds; None waits for ever."""
    origins: tuple[str, ...] = ()
    """URLs of servers that have the same bytes as what is fetched (`--origin`)."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the variables: `shoal.Settings.from_environ({"SHOAL_PORT": "4001"})`.

        Without `environ`, read the variables of this process and `config.toml`.

        Raises `UsageError` that names the variable or key with an invalid value.
        """
        from shoal.config.values import values_of

        return cls(**values_of(SettingsFields.__optional_keys__, {}, environ))

    @classmethod
    def of(cls, **fields: Unpack[SettingsFields]) -> "Settings":
        """Return the given settings, and the defaults for those that are left out.

        `shoal.Settings.of(peers="192.0.2.7:4001", limit_up="10M")`. Raises
        `TypeError` for unknown keywords and `UsageError` for invalid values.
        """
        from shoal.config.values import values_of

        return cls(**values_of(SettingsFields.__optional_keys__, fields))
