"""curl requests the table of ranges, and preconditions, from a running gateway."""

import asyncio
from pathlib import Path

import pytest

from shoal.core.manifest.blocks import BLOCK_SIZE
from shoal.core.wire.sealed_messages import BlockRequest
from tests.helpers.gateway import Answer, curl, get, request, serving
from tests.helpers.holder import Holder, Holding, Talk, make_holding
from tests.helpers.nginx import missing_nginx, nginx
from tests.helpers.ranges import RANGES, SIZE, RangeCase
from tests.helpers.requirements import require

HOLDING = make_holding(SIZE)
DATA = b"".join(HOLDING.chunk(index) for index in range(HOLDING.chunks.count))
FILE = "files/0/data"


async def request_all(url: str) -> list[Answer]:
    """Request every range of the table, several at a time."""
    turn = asyncio.Semaphore(4)

    async def fetch(case: RangeCase) -> Answer:
        async with turn:
            return await curl(url, "-H", f"Range: {case.value}")

    return list(await asyncio.gather(*map(fetch, RANGES)))


def check(case: RangeCase, answer: Answer, *, is_ours: bool) -> None:
    """Assert that an answer is the one that the case expects."""
    assert (answer.code, answer.status) == (0, case.status), case
    if case.status == 416:
        assert answer.headers["content-range"] == f"bytes */{SIZE}"
        assert not is_ours or answer.body == b""
        return
    assert answer.body == DATA[case.first : case.last + 1]
    assert answer.headers["content-length"] == str(len(answer.body))
    expected = f"bytes {case.first}-{case.last}/{SIZE}" if case.status == 206 else None
    assert answer.headers.get("content-range") == expected


@pytest.mark.program("clients", "curl", "curl --version", "every kind of range")
async def test_the_gateway_answers_every_range_of_the_table_as_the_rfc_requires() -> (
    None
):
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        answers = await request_all(gateway.url + FILE)
    for case, answer in zip(RANGES, answers, strict=True):
        check(case, answer, is_ours=True)
    assert len({answer.headers["etag"] for answer in answers}) == 1


class FirstAnswer(Holder):
    """A holder that answers one request for blocks and no other request."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(holding)
        self.requests: list[BlockRequest] = []

    def on_request(self, talk: Talk, index: int) -> None:
        raise AssertionError("a whole chunk")

    def on_block_request(self, talk: Talk, request: BlockRequest) -> None:
        self.requests.append(request)
        if len(self.requests) == 1:
            talk.send_blocks(request)


@pytest.mark.parametrize("last", ["", "9000000"])
async def test_the_first_byte_after_a_seek_needs_at_most_128_kib(last: str) -> None:
    size = 4 << 20
    holding = make_holding(3 * size, chunk_size=size)
    first = size + 3 * BLOCK_SIZE + 5
    async with FirstAnswer(holding) as holder, serving(holder) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        wanted = f"Range: bytes={first}-{last}".encode()
        writer.write(request(gateway, FILE, wanted))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 206 " in head
        assert await reader.readexactly(1) == holding.chunk(1)[3 * BLOCK_SIZE + 5 :][:1]
        (answered, *_) = holder.requests
        assert answered.count * BLOCK_SIZE <= 128 * 1024
        writer.close()


@pytest.mark.program("clients", "nginx", "nginx -v", "the same answers, as an oracle")
async def test_nginx_gives_the_same_answers_except_where_noted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "data").write_bytes(DATA)
    require(missing_nginx())
    with nginx(root, tmp_path / "nginx") as server:
        answers = await request_all(f"http://127.0.0.1:{server.port}/data")
    for case, answer in zip(RANGES, answers, strict=True):
        if case.nginx:
            check(case, answer, is_ours=False)
        else:
            assert answer.status != case.status, f"nginx gives the same answer: {case}"


async def test_head_returns_the_headers_of_get_and_fetches_nothing() -> None:
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        head = await get(gateway, FILE, "-I")
        ranged = await get(gateway, FILE, "-I", "-r", "0-9")
        fetched = list(holder.sent)
        whole = await get(gateway, FILE)
    del head.headers["date"], ranged.headers["date"], whole.headers["date"]
    assert (head.status, head.headers) == (200, whole.headers)
    assert (ranged.status, ranged.headers) == (200, whole.headers)
    assert head.body == b""
    assert fetched == []


async def test_responses_without_a_body_fetch_nothing() -> None:
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        tag = (await get(gateway, FILE, "-I")).headers["etag"]
        known = await get(gateway, FILE, "-H", f"If-None-Match: {tag}")
        gone = await get(gateway, FILE, "-H", 'If-Match: "x"')
        beyond = await get(gateway, FILE, "-r", "50000-")
        assert holder.sent == []
        other = await get(gateway, FILE, "-H", 'If-None-Match: "x"')
    assert (known.status, known.body, known.headers["etag"]) == (304, b"", tag)
    assert (gone.status, gone.body) == (412, b"")
    assert beyond.status == 416
    assert (other.status, other.body) == (200, DATA)


async def test_a_download_resumes_only_with_the_same_tag() -> None:
    async with Holder(HOLDING) as holder, serving(holder) as gateway:
        tag = (await get(gateway, FILE, "-I")).headers["etag"]
        for value, status in ((tag, 206), (f"W/{tag}", 200), ('"x"', 200)):
            words = ("-r", "40000-", "-H", f"If-Range: {value}")
            answer = await get(gateway, FILE, *words)
            assert answer.status == status
            assert answer.body == DATA[40_000 if status == 206 else 0 :]


async def test_a_tag_is_stable_and_unique_to_its_file() -> None:
    other = make_holding(SIZE + 1)
    async with Holder(HOLDING) as holder, Holder(other) as second:
        async with serving(holder, second) as gateway:
            first = (await get(gateway, FILE, "-I")).headers["etag"]
            different = (await get(gateway, "files/1/data", "-I")).headers["etag"]
        async with serving(holder) as gateway:
            again = (await get(gateway, FILE, "-I")).headers["etag"]
    assert first == again != different
    assert HOLDING.link.id.hex()[:8] not in first


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5"])
async def test_any_range_of_an_empty_file_gets_the_whole_file(value: str) -> None:
    async with Holder(make_holding(b"")) as holder, serving(holder) as gateway:
        answer = await get(gateway, FILE, "-H", f"Range: {value}")
    assert (answer.status, answer.headers["content-length"]) == (200, "0")
