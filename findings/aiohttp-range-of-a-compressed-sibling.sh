#!/bin/sh
# A .gz file beside a file makes an aiohttp server answer ranges in compressed bytes,
# and clients return a wrong number of bytes with status 206 and no error.
#
# Packages: aiohttp 3.14.5 as server and client, httpx 0.28.1, urllib3 2.8.0 (PyPI),
# CPython 3.11.
#
# Expected: FileResponse and add_static support Range, and they serve FILE.gz in place
# of FILE to a client that accepts gzip:
# https://docs.aiohttp.org/en/stable/web_reference.html#aiohttp.web.FileResponse
# A client that asks for bytes 0 to 9999 of table.csv expects 10,000 bytes or an error.
#
# What happens: two defaults meet. aiohttp's and httpx's clients send
# "Accept-Encoding: gzip" beside the caller's Range header, so the server applies the
# range to table.csv.gz. For a range that starts at 0 the clients then decompress a
# stream that ends in the middle, do not miss its end, and return 19,586 bytes of
# table.csv with status 206. A range that starts anywhere else raises a decoding error.
# urllib3 asks for no encoding by default and gets the 10,000 bytes; with the header it
# behaves like the others. Content-Range counts compressed bytes, so a client that
# resumes a download from the length of what it has stored is wrong twice.
#
# Output seen:
#   aiohttp 0-9999: 206 bytes 0-9999/223447, a prefix of 19586 bytes
#   aiohttp 10000-19999: ClientPayloadError
#   httpx 0-9999: 206 bytes 0-9999/223447, a prefix of 19586 bytes
#   httpx 10000-19999: DecodingError
#   urllib3 with Accept-Encoding 0-9999: 206 bytes 0-9999/223447, a prefix of 19586 bytes
#   urllib3 with Accept-Encoding 10000-19999: DecodeError
#   urllib3 0-9999: 206 bytes 0-9999/494364, a prefix of 10000 bytes
#   urllib3 10000-19999: 206 bytes 10000-19999/494364, the right 10000 bytes
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'aiohttp==3.14.5' 'httpx==0.28.1' 'urllib3==2.8.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
mkdir "$work/www"
"$work/venv/bin/python" - "$work/www" <<'PYTHON'
import asyncio
import gzip
import pathlib
import random
import sys

import aiohttp
import httpx
import urllib3
from aiohttp import web

generator = random.Random(1)
DATA = "".join(f"{i},{generator.random()}\n" for i in range(20_000)).encode()
folder = pathlib.Path(sys.argv[1])
(folder / "table.csv").write_bytes(DATA)
(folder / "table.csv.gz").write_bytes(gzip.compress(DATA))


async def get_aiohttp(url, headers):
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def get_httpx(url, headers):
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url, headers=headers)
        return answer.status_code, answer.headers, answer.content


async def get_urllib3(url, headers):
    answer = await asyncio.to_thread(urllib3.request, "GET", url, headers=headers)
    return answer.status, answer.headers, answer.data


async def get_urllib3_encoded(url, headers):
    encodings = urllib3.util.make_headers(accept_encoding="gzip")
    return await get_urllib3(url, headers | encodings)


async def main():
    """Return what each client makes of each range."""
    application = web.Application()
    application.router.add_static("/", folder)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/table.csv"
    results = {}
    for name, get in (
        ("aiohttp", get_aiohttp),
        ("httpx", get_httpx),
        ("urllib3 with Accept-Encoding", get_urllib3_encoded),
        ("urllib3", get_urllib3),
    ):
        for start in (0, 10_000):
            wanted = DATA[start : start + 10_000]
            try:
                status, headers, body = await get(
                    url, {"Range": f"bytes={start}-{start + 9_999}"}
                )
            except Exception as error:
                result = type(error).__name__
            else:
                kind = "a prefix of" if start == 0 and DATA.startswith(body) else (
                    "the right" if body == wanted else "other"
                )
                result = f"{status} {headers['Content-Range']}, {kind} {len(body)} bytes"
            print(f"{name} {start}-{start + 9_999}: {result}")
            results[name, start] = result
    await runner.cleanup()
    return results


results = asyncio.run(main())
silent = [results[name, 0] for name in ("aiohttp", "httpx", "urllib3 with Accept-Encoding")]
plain = results["urllib3", 0]
same = plain.endswith("a prefix of 10000 bytes") and all(
    result.startswith("206 ") and "a prefix of" in result and result != plain
    and not result.endswith(" 10000 bytes")
    for result in silent
)
sys.exit(0 if same else "the behaviour has changed")
PYTHON
