"""asyncio as where Python has no TLS."""

import os
import subprocess
import sys

WITHOUT = "from shoal.cli.plain import *; load_asyncio_without_tls(); import sys\n"


def _run(code: str) -> None:
    environment = {**os.environ, "SHOAL_UVLOOP": "0"}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, env=environment, timeout=30)
    assert done.returncode == 0, done.stderr


IN_THE_CLEAR = """
assert not {"ssl", "_ssl"} & sys.modules.keys()
import asyncio, ssl
async def main():
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    where = listener.sockets[0].getsockname()
    reader, _ = await asyncio.open_connection(*where)
    assert await reader.read() == b""
    try:
        await asyncio.open_connection(*where, ssl=ssl.create_default_context())
    except RuntimeError as error:
        assert "ssl module not available" in str(error)
    else:
        raise AssertionError
asyncio.run(main())
"""


def test_asyncio_has_no_tls_and_all_else_has() -> None:
    _run(WITHOUT + IN_THE_CLEAR)


def test_what_is_loaded_already_stays_as_it_is() -> None:
    _run(f"import asyncio, ssl; {WITHOUT}assert asyncio.base_events.ssl is ssl\n")
    _run(f"import ssl; {WITHOUT}assert sys.modules['ssl'] is ssl\n")


def test_a_chunk_of_an_open_channel_loads_no_tls_and_that_of_a_link_does() -> None:
    link = "shoal:" + "a" * 56
    for share, has_tls in (("nobody", False), ("0" * 64, False), (link, True)):
        words = ["chunk", share, "0", "--timeout", "0.1", "--lan-only", "--no-lan"]
        _run(
            f"from shoal.cli import run; import sys; run({words!r})\n"
            f"assert ('ssl' in sys.modules) == {has_tls}\n"
        )
