"""Say something to a server and hear it out: for bytes that no client would send."""

import asyncio

__all__ = ["exchange"]


async def exchange(host: str, port: int, data: bytes, within: float) -> bytes:
    """Return all that comes back until the server hangs up.

    Raises `TimeoutError` when it has not done so after so many seconds.
    """
    reader, writer = await asyncio.open_connection(host, port)
    got = b""
    try:
        writer.write(data)
        async with asyncio.timeout(within):
            while block := await reader.read(1 << 16):
                got += block
    except ConnectionError:
        pass  # it had not read everything when it hung up
    finally:
        writer.close()
    return got
