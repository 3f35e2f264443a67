"""Share with the blocking API, on 127.0.0.1 only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import shoal

__all__ = ["LOOPBACK", "Share", "near", "sharing"]

LOOPBACK: dict[str, Any] = {"lan_only": True, "no_lan": True, "interfaces": "127.0.0.1"}
"""Settings that confine a node to this machine."""

Share = Callable[..., shoal.BlockingShare]
"""A function that shares a path, with the options of `shoal.share`."""


def near(*shares: shoal.BlockingShare) -> dict[str, Any]:
    """Return settings with the addresses of these shares as peers."""
    return {**LOOPBACK, "peers": ",".join(f"127.0.0.1:{s.port}" for s in shares)}


@contextmanager
def sharing() -> Iterator[Share]:
    """Yield a function that shares paths until the end of the block."""
    shares: list[shoal.BlockingShare] = []

    def share(path: Path, **options: Any) -> shoal.BlockingShare:
        shares.append(shoal.share(path, **{**LOOPBACK, **options}))
        return shares[-1]

    try:
        yield share
    finally:
        for each in shares:
            each.close()
