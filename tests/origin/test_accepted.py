"""What servers really answer, and shoal takes, although it is not what was asked."""

from collections.abc import Mapping
from contextlib import aclosing
from email.utils import format_datetime

import pytest
from aiohttp import web

from shoal.config.settings import Settings
from shoal.errors import PeerError
from shoal.origin.parts import OriginBusyError, OriginFileError, Part
from shoal.origin.web import WebReader, parse_retry_after
from tests.helpers.web_origin import web_origin

DATA = bytes(range(256)) * 64
PART = Part("", "f", 1000, 3000, len(DATA))
EXPECTED = (1000, DATA[1000:4000])
WHOLE = (0, DATA)


async def read(url: str, **settings: object) -> tuple[int, bytes]:
    """Return the bytes that a reader yields, after the offset of the first."""
    reader = WebReader(url, Settings(**settings), is_trusted=True)  # type: ignore[arg-type]
    try:
        async with aclosing(reader.read(PART)) as blocks:
            found = [each async for each in blocks]
    finally:
        await reader.aclose()
    offsets, sizes = [each.offset for each in found], [len(e.data) for e in found]
    assert offsets == [offsets[0] + sum(sizes[:n]) for n in range(len(sizes))]
    data = b"".join(each.data for each in found)
    assert all(each.is_whole == (len(data) == len(DATA)) for each in found)
    return offsets[0], data


async def answered(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    is_chunked: bool = False,
) -> tuple[int, bytes]:
    """Read from a server that gives this answer to every request."""
    async with web_origin({}) as origin:

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(status=status, headers=headers)
            if not is_chunked:
                response.content_length = len(body)
            await response.prepare(request)
            await response.write(body)
            return response

        origin.answer = answer
        return await read(origin.url + "f?secret")


def ranged(first: int, last: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {first}-{last}/{len(DATA)}"}


@pytest.mark.parametrize("label", ["gzip", "br", "identity"])
async def test_a_label_does_not_matter_if_the_size_is_right(label: str) -> None:
    """Flask labels stored .gz files, and S3 what its metadata says."""
    labelled = {"Content-Encoding": label}
    found = await answered(206, DATA[1000:4000], ranged(1000, 3999) | labelled)
    assert found == EXPECTED
    assert await answered(200, DATA, labelled) == WHOLE


async def test_a_file_that_is_compressed_on_the_way_is_refused_alone() -> None:
    labelled = {"Content-Encoding": "gzip"}
    with pytest.raises(OriginFileError, match="compresses"):
        await answered(200, DATA[:99], labelled, is_chunked=True)
    with pytest.raises(OriginFileError, match="99 B there"):
        await answered(200, DATA[:99], labelled)
    with pytest.raises(OriginFileError, match="99 B there"):
        await answered(206, DATA[:9], {"Content-Range": "bytes 0-98/99"} | labelled)


async def test_a_longer_range_is_cut_to_what_was_asked() -> None:
    assert await answered(206, DATA[512:8192], ranged(512, 8191)) == EXPECTED


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_server_that_ignores_ranges_sends_the_whole_file(
    is_chunked: bool,
) -> None:
    assert await answered(200, DATA, {}, is_chunked=is_chunked) == WHOLE
    # No more than that is read.
    if is_chunked:
        assert await answered(200, DATA + DATA, {}, is_chunked=True) == WHOLE


async def test_a_file_that_ends_early_is_refused_alone() -> None:
    with pytest.raises(OriginFileError, match="shorter"):
        await answered(200, DATA[:-1], {}, is_chunked=True)


@pytest.mark.parametrize("status", [429, 503])
async def test_an_origin_may_ask_to_be_left_alone(status: int) -> None:
    with pytest.raises(
        OriginBusyError, match=f"{status} and asks for a pause of 120 s"
    ) as busy:
        await answered(status, b"", {"Retry-After": "120"})
    assert busy.value.seconds == 120
    with pytest.raises(PeerError, match=f"it answers {status}$"):
        await answered(status, b"", {"Retry-After": "soon"})


def test_a_date_to_come_back_at_is_read() -> None:
    from datetime import UTC, datetime, timedelta

    later = datetime.now(UTC) + timedelta(minutes=5)
    seconds = parse_retry_after(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 290 < seconds <= 300
    assert parse_retry_after(format_datetime(datetime(2001, 1, 1, tzinfo=UTC))) == 0
    assert parse_retry_after("-1") is None


@pytest.mark.parametrize("found", ["/a+b&c", "/a%2Bb&c"])
async def test_a_plus_sign_is_found_by_servers_of_both_kinds(found: str) -> None:
    """S3 decodes `+` to a space, and sirv does not decode `%2B`."""
    asked: list[str] = []
    async with web_origin({"a+b&c": DATA}) as origin:

        async def answer(request: web.Request) -> web.StreamResponse:
            asked.append(request.raw_path)
            if request.raw_path != found:
                return web.Response(status=404)
            return await origin.serve(request)

        origin.answer = answer
        reader = WebReader(origin.url, Settings(), is_trusted=True)
        for _ in range(2):
            async with aclosing(reader.read(PART._replace(path="a+b&c"))) as blocks:
                assert b"".join([each.data async for each in blocks]) == EXPECTED[1]
        await reader.aclose()
    assert asked == [*dict.fromkeys(["/a+b&c", found]), found]


async def test_a_redirect_to_a_named_host_is_followed() -> None:
    async with web_origin({"f": DATA}) as origin, web_origin({"f": DATA}) as other:
        target = other.url.replace("127.0.0.1", "localhost") + "f"

        async def answer(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(target)

        origin.answer = answer
        with pytest.raises(PeerError, match="not on the internet"):
            await read(origin.url + "f")
        assert not other.asked
        assert await read(origin.url + "f", origins=(target,)) == EXPECTED
