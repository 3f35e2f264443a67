"""A discovery network that fails with an error that no caller expects."""

from collections.abc import AsyncGenerator

import pytest

from shoal.core.names.address import Address
from shoal.discovery.combined import Networks

__all__ = ["break_discovery"]


class BrokenDiscovery:
    """Yield one address where nothing listens, then fail."""

    name = "broken"

    async def join(self, *_: object, **__: object) -> AsyncGenerator[Address, None]:
        yield Address("127.0.0.1", 1)
        raise UnicodeError("label empty or too long")

    async def find(self) -> AsyncGenerator[tuple[Address, str], None]:
        async for address in self.join():
            yield address, self.name


def break_discovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every search for peers, and every announcement, fail."""
    monkeypatch.setattr(Networks, "find", lambda *_: [BrokenDiscovery().find()])
    monkeypatch.setattr(Networks, "discovery", lambda _: [BrokenDiscovery()])
