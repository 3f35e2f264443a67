"""An HTTP origin's response is the requested range of the right file, or refused."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing, closing, suppress

import pytest
from aiohttp import web

from shoal.config.settings import Settings
from shoal.errors import PeerError
from shoal.net.socket_names import family_of
from shoal.origin.parts import OriginFileError, Part
from shoal.origin.session import MAX_INTERIM
from shoal.origin.web import MAX_REDIRECTS, AddressFilter, WebReader
from tests.helpers.certificate import own_context
from tests.helpers.web_origin import Answer, WebOrigin, web_origin

DATA = bytes(range(256)) * 64
PART = Part("", "f", 1000, 3000, len(DATA))
EXPECTED = DATA[1000:4000]


async def read(reader: WebReader, part: Part = PART, *, close: bool = True) -> bytes:
    try:
        async with aclosing(reader.read(part)) as blocks:
            return b"".join([block.data async for block in blocks])
    finally:
        if close:
            await reader.aclose()


def trusted(url: str, **settings: object) -> WebReader:
    return WebReader(url, Settings(**settings), is_trusted=True)  # type: ignore[arg-type]


def hinted(url: str, **settings: object) -> WebReader:
    return WebReader(url, Settings(**settings), is_trusted=False)  # type: ignore[arg-type]


async def test_the_requested_bytes_are_returned_and_compression_is_declined() -> None:
    async with web_origin({"f": DATA}) as origin:
        assert await read(trusted(origin.url + "f")) == EXPECTED
        assert origin.asked == [("f", "bytes=1000-3999")]
        assert origin.headers[0]["Accept-Encoding"] == "identity"


async def test_the_files_of_a_folder_are_below_its_url() -> None:
    files = {"base/a b/\u00fc?": DATA}
    async with web_origin(files) as origin:
        part = PART._replace(path="a b/\u00fc?")
        assert await read(trusted(origin.url + "base"), part) == EXPECTED


async def test_a_query_is_sent_unchanged() -> None:
    async with web_origin({"f": DATA}) as origin:
        seen: list[str] = []

        async def answer(request: web.Request) -> web.StreamResponse:
            seen.append(request.raw_path)
            return await origin.serve(request)

        origin.answer = answer
        assert await read(trusted(origin.url + "f?sig=a%2Fb%7e+c")) == EXPECTED
        assert seen == ["/f?sig=a%2Fb%7e+c"]


def with_header(name: str, value: str) -> Callable[[WebOrigin], Answer]:
    def make(origin: WebOrigin) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = await origin.serve(request)
            response.headers[name] = value
            return response

        return answer

    return make


def with_status(status: int) -> Callable[[WebOrigin], Answer]:
    def make(origin: WebOrigin) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=DATA)

        return answer

    return make


def short(origin: WebOrigin) -> Answer:
    """Announce the requested range, and disconnect in the middle."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206)
        response.headers["Content-Range"] = f"bytes 1000-3999/{len(DATA)}"
        response.content_length = 3000
        await response.prepare(request)
        await response.write(EXPECTED[:1000])
        assert request.transport is not None
        request.transport.abort()
        return response

    return answer


def short_of_its_range(origin: WebOrigin) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Range": f"bytes 1000-3999/{len(DATA)}"}
        return web.Response(status=206, body=EXPECTED[:9], headers=headers)

    return answer


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (with_header("Content-Range", "bytes 0-2999/16384"), "another range"),
        (with_header("Content-Range", "bytes 1001-4000/16384"), "another range"),
        (with_header("Content-Range", "nonsense"), "another range"),
        (with_status(500), "500"),
        (with_status(204), "204"),
        (with_status(302), "to no address"),
        (short, "cut off"),
        (short_of_its_range, "early"),
    ],
)
async def test_a_response_other_than_the_requested_range_is_refused(
    make: Callable[[WebOrigin], Answer], why: str
) -> None:
    async with web_origin({"f": DATA}) as origin:
        origin.answer = make(origin)
        with pytest.raises(PeerError, match=why) as error:
            await read(trusted(origin.url + "f?secret"))
        assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (with_status(401), "401 for the file: user name or password"),
        (with_status(404), "404"),
        (with_status(403), "403"),
        (with_status(416), "416"),
        (with_header("Content-Range", "bytes 1000-3999/16385"), "16,385 B there"),
    ],
)
async def test_a_missing_or_resized_file_raises_an_error_for_that_file_only(
    make: Callable[[WebOrigin], Answer], why: str
) -> None:
    async with web_origin({"f": DATA}) as origin:
        origin.answer = make(origin)
        with pytest.raises(OriginFileError, match=why):
            await read(trusted(origin.url + "f"))


async def test_a_changed_file_is_reported_once_and_then_left_to_the_hashes() -> None:
    async with web_origin({"f": DATA}) as origin:
        reader = trusted(origin.url + "f")
        assert await read(reader, close=False) == EXPECTED
        assert await read(reader, close=False) == EXPECTED
        assert "If-Range" in origin.headers[-1]
        origin.files["f"] = bytes(len(DATA))
        with pytest.raises(PeerError, match="changed"):
            await read(reader, close=False)
        assert await read(reader) == bytes(3000)


async def test_redirects_are_followed_up_to_a_limit() -> None:
    async with web_origin({"f": DATA, "g": DATA}) as origin:

        async def once(request: web.Request) -> web.StreamResponse:
            if request.path == "/f":
                return web.Response(status=302, headers={"Location": "/g?x=1"})
            return await origin.serve(request)

        async def again(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": "/f"})

        origin.answer = once
        assert await read(trusted(origin.url + "f")) == EXPECTED
        origin.answer = again
        origin.asked.clear()
        with pytest.raises(PeerError, match="too many times"):
            await read(trusted(origin.url + "f"))
        assert len(origin.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/f",
        "http://localhost:{port}/f",
        "http://0x7f.1:{port}/f",
        "http://2130706433:{port}/f",
        "http://[::1]:{port}/f",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "ftp://127.0.0.1/f",
    ],
)
async def test_a_redirect_to_a_local_address_or_another_protocol_is_refused(
    location: str,
) -> None:
    async with web_origin({"f": DATA}) as origin, web_origin({"f": DATA}) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            to = location.format(port=other.port)
            return web.Response(status=302, headers={"Location": to})

        origin.answer = answer
        with pytest.raises(PeerError):
            await read(trusted(origin.url + "f"))
        assert not other.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::1]"])
async def test_an_origin_in_a_link_may_not_be_on_this_machine(host: str) -> None:
    async with web_origin({"f": DATA}) as origin:
        url = f"http://{host}:{origin.port}/f"
        with pytest.raises(PeerError):
            await read(hinted(url))
        with pytest.raises(PeerError):
            await read(hinted(url, lan_only=True))
        assert not origin.asked
        # It may if the user confined shoal to that network.
        if host == "127.0.0.1":
            assert await read(hinted(url, interfaces=("lo",))) == EXPECTED


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/f",
        "http://192.168.1.1:8080/f",
        "http://169.254.169.254/f",
        "http://0.0.0.0:8080/f",
        "http://224.0.0.251:5353/f",
        "http://192.0.2.1:22/f",
        "http://[fd00:ec2::254]/f",
        "http://[fe80::1]:8080/f",
        "http://[fe80::1%25lo]:8080/f",
        "http://[::ffff:10.0.0.1]/f",
        "http://[64:ff9b::a00:1]/f",
        "http://[2002:a00:1::1]/f",
        "http://[::]:8080/f",
        "http://[2a01::1]:22/f",
    ],
)
async def test_no_packet_is_sent_to_an_address_that_a_link_may_not_name(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was made")

    reader = hinted(url)
    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(PeerError, match="argument origins|port"):
        await read(reader)


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        (["8.8.8.8", "2a01::1"], {"8.8.8.8", "2a01::1"}),
        (["10.0.0.1", "64:ff9b::808:808"], {"64:ff9b::808:808"}),
        (["fd00:ec2::254", "fe80::1", "::1", "::", "::ffff:127.0.0.1"], set()),
        (["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1"], set()),
        (["64:ff9b:1::808:808", "2001:db8::1", "ff02::1", "fec0::1"], set()),
    ],
)
async def test_a_name_leads_to_global_addresses_of_both_families_only(
    hosts: list[str], allowed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        families = map(family_of, hosts)
        names = ((each, port) for each in hosts)
        return [(f, 1, 6, "", n) for f, n in zip(families, names, strict=True)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    addresses = AddressFilter(Settings())
    if allowed:
        found = await addresses.resolve("a.example", 443)
        assert {each["host"] for each in found} == allowed
    else:
        with pytest.raises(OSError, match="not on the internet"):
            await addresses.resolve("a.example", 443)
    for host in hosts:
        if host not in allowed:
            with pytest.raises(PeerError):
                addresses.check(host, 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_link_may_name_a_server_of_the_user_but_no_other_of_its_host(
    host: str,
) -> None:
    async with web_origin({"f": DATA}) as origin, web_origin({"f": DATA}) as other:
        origins = (f"http://{host}:{origin.port}/",)
        url = f"http://{host}:{origin.port}/f"
        assert await read(hinted(url, origins=origins)) == EXPECTED
        with pytest.raises(PeerError):
            await read(hinted(f"http://{host}:{other.port}/f", origins=origins))
        assert not other.asked


async def test_an_origin_of_the_user_may_redirect_to_another_server_of_its_host() -> (
    None
):
    async with web_origin({"f": DATA}) as origin, web_origin({"f": DATA}) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": other.url + "f"})

        origin.answer = answer
        assert await read(trusted(origin.url + "f")) == EXPECTED


async def test_lan_only_looks_up_no_names() -> None:
    with pytest.raises(PeerError, match="no name lookup"):
        await read(hinted("http://host.example/f", lan_only=True))


async def test_a_refused_connection_is_reported_without_the_query() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/f?secret"
        with pytest.raises(PeerError, match="no connection") as error:
            await read(trusted(url))
    assert "secret" not in str(error.value)


async def test_a_server_that_is_not_http_is_reported_without_the_query() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerError, match="not HTTP|closed the connection") as error:
            await read(trusted(f"http://127.0.0.1:{port}/f?secret"))
        assert "secret" not in str(error.value)


async def test_a_certificate_that_does_not_verify_is_refused() -> None:
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        writer.close()

    # The server's side of the handshake fails too, which asyncio would log.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    context = own_context()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(PeerError, match="certificate verify failed"):
            await read(trusted(f"https://127.0.0.1:{port}/f"))
    assert not any(received)


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
HEADER = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3000\r\n"
    b"Content-Range: bytes 1000-3999/16384\r\n"
)


def with_fields(count: int, size: int) -> bytes:
    """Return an interim response with this many header fields of this size."""
    fields = (b"X-%d: %s\r\n" % (n, b"x" * size) for n in range(count))
    return INTERIM[:-2] + b"".join(fields) + b"\r\n"


async def says(before: bytes, repeats: int | None) -> bytes:
    """Read from a server that says something before its response, or for ever."""
    sent = 0

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal sent
        with suppress(ConnectionError), closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            while repeats is None or sent < repeats:
                writer.write(before)
                await writer.drain()
                await asyncio.sleep(0)
                sent += 1
            writer.write(HEADER + b"\r\n" + EXPECTED)
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await read(trusted(f"http://127.0.0.1:{port}/f"))


async def test_some_interim_responses_are_ignored() -> None:
    assert await says(INTERIM, MAX_INTERIM) == EXPECTED
    assert await says(with_fields(9, 4000), 1) == EXPECTED


@pytest.mark.parametrize(
    ("before", "repeats"),
    [
        (INTERIM, None),
        (b"HTTP/1.1 100 \r\n\r\n" * 1000, None),
        (INTERIM, MAX_INTERIM + 1),
        (with_fields(9, 8000), 1),
        (with_fields(2, 8000), 5),
    ],
)
async def test_endless_interim_responses_end_the_connection(
    before: bytes, repeats: int | None
) -> None:
    with pytest.raises(PeerError, match="too much before its response"):
        await says(before, repeats)


async def test_too_many_header_fields_end_the_connection() -> None:
    with pytest.raises(PeerError, match="not HTTP"):
        await says(with_fields(200, 1), 1)


async def test_a_response_that_never_begins_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shoal.origin.web.ANSWER_TIME", 0.2)
    with pytest.raises(PeerError, match="does not answer"):
        await says(b"", None)


async def test_a_redirect_takes_no_password_to_another_host() -> None:
    """Another port counts as another host."""
    async with web_origin({"f": DATA}) as other, web_origin({"f": DATA}) as origin:

        async def answer(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(other.url + "f")

        origin.answer = answer
        url = origin.url.replace("//", "//user:secret@") + "f?signature=secret"
        assert await read(trusted(url)) == EXPECTED
        assert "Authorization" in origin.headers[0]
        (received,) = other.headers
        assert "Authorization" not in received
        assert "secret" not in str(dict(received))
        assert other.asked == [("f", "bytes=1000-3999")]


async def test_a_long_entity_tag_is_remembered_by_its_hash() -> None:
    async with web_origin({"f": DATA}) as origin:
        origin.answer = with_header("ETag", '"' + "a" * 7000 + '"')(origin)
        reader = trusted(origin.url + "f")
        assert await read(reader, close=False) == EXPECTED
        assert len(str(reader._validators)) < 500
        assert await read(reader, close=False) == EXPECTED
        assert "If-Range" not in origin.headers[-1]
        origin.answer = with_header("ETag", '"' + "a" * 6999 + 'b"')(origin)
        with pytest.raises(PeerError, match="changed"):
            await read(reader)
