"""A TCP proxy that limits the total rate of all its connections.

python -m tests.helpers.slow_line LISTEN-PORT TARGET-PORT BYTES-PER-SECOND

nginx can limit each connection only. The proxy prints `ready` once it listens.
"""

import asyncio
import contextlib
import sys

__all__ = ["main"]

BLOCK = 16_384  # bytes forwarded at once
SLACK = 0.02  # seconds by which the line may lag behind its rate and catch up


async def main(port: int, target: int, rate: float) -> None:
    """Forward connections from one port of 127.0.0.1 to another until cancelled."""
    loop = asyncio.get_running_loop()
    free_at = 0.0

    async def pipe(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_slow: bool
    ) -> None:
        nonlocal free_at
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(BLOCK):
                if is_slow:
                    free_at = max(free_at, loop.time() - SLACK) + len(data) / rate
                    await asyncio.sleep(free_at - loop.time())
                writer.write(data)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            pipe(reader, back, is_slow=False), pipe(there, writer, is_slow=True)
        )

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        print("ready", flush=True)  # noqa: T201
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
