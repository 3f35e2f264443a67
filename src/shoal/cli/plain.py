"""asyncio without its TLS, for a command that has no use for any.

asyncio loads `ssl` if there is one, to offer TLS of its own; a Python that was built
without lacks just that. Open channels are spoken in the clear, sealed shares have their
own TLS (`transport.tls`), and only origins are asked by that of asyncio. Loading
it takes 3 of the 58 ms to the first byte of a chunk.
"""

import sys

__all__ = ["load_asyncio_without_tls"]


def load_asyncio_without_tls() -> None:
    """Load asyncio, unless it is loaded, as where Python has no TLS.

    From then on `ssl=` is refused wherever asyncio takes it, with `RuntimeError`.
    `import ssl` works as ever.
    """
    if {"asyncio", "ssl"} & sys.modules.keys():
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]  # says that there is none
    try:
        import asyncio  # noqa: F401
    finally:
        del sys.modules["ssl"]
