"""Share without a loop, on 127.0.0.1 and nowhere else, for who reads without one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import shoal

__all__ = ["LOOPBACK", "Share", "near", "sharing"]

LOOPBACK: dict[str, Any] = {"lan_only": True, "no_lan": True, "interfaces": "127.0.0.1"}
"""Settings that leave the network alone."""

Share = Callable[..., shoal.BlockingShare]
"""Share a path, with the options of `shoal.share`."""


def near(*shares: shoal.BlockingShare) -> dict[str, Any]:
    """Return the settings of somebody who knows where shares are."""
    return {**LOOPBACK, "peers": ",".join(f"127.0.0.1:{s.port}" for s in shares)}


@contextmanager
def sharing() -> Iterator[Share]:
    """Give a function that shares; all of it ends with the block."""
    shares: list[shoal.BlockingShare] = []

    def share(path: Path, **options: Any) -> shoal.BlockingShare:
        shares.append(shoal.share(path, **{**LOOPBACK, **options}))
        return shares[-1]

    try:
        yield share
    finally:
        for each in shares:
            each.close()
