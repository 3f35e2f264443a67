"""The addresses in a link, as far as they may be dialled.

Whoever made the link chose them, so they could point a crowd at anything. What is
not an ordinary address is left out, after names were looked up; and where the user
keeps to some networks, so do hints, and no name is looked up at all.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Iterable

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.net.interfaces import list_interfaces

__all__ = ["usable_hints"]

LOOKUP_TIME = 5.0  # seconds for a name


async def usable_hints(
    hints: Iterable[Address], settings: Settings
) -> AsyncGenerator[tuple[Address, str], None]:
    """Yield the hints that may be dialled, as addresses named `hint`."""
    for hint in hints:
        for address in await _resolve(hint, settings):
            if is_usable(address.host, settings):
                yield address, "hint"


def is_usable(host: str, settings: Settings) -> bool:
    """Say whether a hint may be dialled, given its IPv4 address."""
    scope = scope_of(host)
    if scope is Scope.NONE or (scope is Scope.LOOPBACK and not settings.interfaces):
        return False
    if not _is_confined(settings):
        return True
    networks = list_interfaces(settings.interfaces)
    return any(each.is_on_subnet(host) for each in networks)


def _is_confined(settings: Settings) -> bool:
    return settings.lan_only or bool(settings.interfaces)


async def _resolve(hint: Address, settings: Settings) -> list[Address]:
    if scope_of(hint.host) is not Scope.NONE or _is_confined(settings):
        return [hint]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            found = await loop.getaddrinfo(
                hint.host, hint.port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [Address(str(each[4][0]), hint.port) for each in found]
