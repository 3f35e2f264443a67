"""Other sites and invalid requests get nothing from the gateway, through sockets."""

import asyncio
import re

import pytest

from shoal.core.names.http_endpoint import parse_endpoint
from shoal.gateway import server
from shoal.gateway.endpoint import format_host
from shoal.gateway.server import Gateway
from shoal.net.interfaces import Interface
from tests.adversary.http import ODD_LINES, ODD_PATHS
from tests.helpers.gateway import FILE, FILM, curl, get, request, say, serving
from tests.helpers.holder import Holder, make_holding

# A foreign host name that resolves to this machine.

OWN = ["127.0.0.1:{0}", "localhost:{0}", "LocalHost:{0}", "[::1]:{0}"]
FOREIGN = [
    *("evil.example", "evil.example:{0}", "127.0.0.1", "127.0.0.1:1", "localhost"),
    *("localhost.:{0}", "127.0.0.1.evil.example:{0}", "127.1:{0}", "[::]:{0}"),
    *("evil@127.0.0.1:{0}", "127.0.0.1:{0}, evil.example", "0.0.0.0:{0}", ""),
]


@pytest.mark.parametrize("host", OWN)
async def test_the_gateway_accepts_its_own_host_names(
    gateway: Gateway, host: str
) -> None:
    answer = await get(gateway, FILE, "-I", "-H", f"Host: {host.format(gateway.port)}")
    assert answer.status == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_rebound_host_name_gets_status_421_and_a_closed_connection(
    gateway: Gateway, holder: Holder, host: str
) -> None:
    data = request(gateway, FILE).replace(
        b"127.0.0.1:%d" % gateway.port, host.format(gateway.port).encode()
    )
    # The gateway disconnects, or `say` would wait; the second request is ignored.
    answer = await say(gateway, data + data)
    port = gateway.port
    names = f"localhost:{port}, 127.0.0.1:{port} or [::1]:{port}"
    text = f"This host name is not allowed; use {names}.\n"
    assert (answer.status, answer.body.decode()) == (421, text)
    assert answer.headers["connection"] == "close"
    assert holder.sent == []


async def test_a_target_in_absolute_form_may_name_no_other_host(
    gateway: Gateway,
) -> None:
    own = request(gateway, FILE, method="HEAD")
    named = own.replace(b" /", b" http://localhost:%d/" % gateway.port, 1)
    foreign = own.replace(b" /", b" http://evil.example/", 1)
    close = b"Connection: close\r\n\r\n"
    assert (await say(gateway, named[:-2] + close)).status == 200
    assert (await say(gateway, foreign)).status == 421


async def test_the_gateway_listens_on_both_loopback_addresses_only(
    gateway: Gateway,
) -> None:
    path = gateway.url.partition(str(gateway.port))[2]
    for host in ("127.0.0.1", "[::1]"):
        url = f"http://{host}:{gateway.port}{path}"
        assert (await curl(url, "-I")).status == 200
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.2", gateway.port)


async def test_the_gateway_listens_on_a_given_host_and_accepts_its_name(
    holder: Holder,
) -> None:
    async with serving(holder, endpoint=parse_endpoint("127.0.0.3:0")) as gateway:
        assert gateway.url.startswith(f"http://127.0.0.3:{gateway.port}/")
        assert (await get(gateway, FILE, "-I")).status == 200
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.port)


async def test_a_wildcard_gateway_accepts_any_address_but_no_foreign_name(
    holder: Holder,
) -> None:
    async with serving(holder, endpoint=parse_endpoint("0.0.0.0:0")) as gateway:
        assert (await get(gateway, FILE, "-I")).status == 200
        for host, status in (("192.0.2.7", 200), ("evil.example", 421)):
            words = ("-I", "-H", f"Host: {host}:{gateway.port}")
            assert (await get(gateway, FILE, *words)).status == status


@pytest.mark.parametrize(
    ("endpoint", "host"), [("[::]:0", "fd00::7"), ("0.0.0.0:0", "10.0.0.7")]
)
async def test_a_wildcard_gateway_names_an_address_at_which_it_listens(
    holder: Holder, endpoint: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ["::1", "127.0.0.1", "fe80::1%eth0", "fd00::7", "10.0.0.7"]
    listed = [Interface("eth0", each, 64) for each in here]
    monkeypatch.setattr(server, "list_interfaces", lambda: listed)
    async with serving(holder, endpoint=parse_endpoint(endpoint)) as gateway:
        assert gateway.url.startswith(f"http://{format_host(host, gateway.port)}/")


# A page of another site in the user's browser.


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
async def test_a_page_of_another_site_gets_nothing(
    gateway: Gateway, holder: Holder, site: str
) -> None:
    for path in (FILE, "", "files/0/"):
        answer = await get(gateway, path, "-H", f"Sec-Fetch-Site: {site}")
        assert answer.status == 403
    assert holder.sent == []


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost"])
async def test_a_page_of_another_origin_gets_nothing(
    gateway: Gateway, holder: Holder, origin: str
) -> None:
    assert (await get(gateway, FILE, "-H", f"Origin: {origin}")).status == 403
    assert holder.sent == []


async def test_requests_from_the_own_page_or_the_user_are_served(
    gateway: Gateway,
) -> None:
    own = f"Origin: http://127.0.0.1:{gateway.port}"
    for line in ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", own):
        assert (await get(gateway, FILE, "-H", line)).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_methods_other_than_get_and_head_are_refused(
    gateway: Gateway, method: str
) -> None:
    answer = await get(gateway, FILE, "-X", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_posted_form_is_refused(gateway: Gateway) -> None:
    answer = await get(gateway, "", "-d", "x" * 100_000)
    assert answer.status == 405


async def test_every_response_has_the_headers_that_keep_other_origins_out(
    gateway: Gateway,
) -> None:
    token = gateway.token
    wrong = gateway.url.replace(token, "A" * len(token))
    answers = [
        *[await get(gateway, path) for path in (FILE, "", "files/0/", "nosuch")],
        await curl(wrong),
        await get(gateway, FILE, "-H", "Host: evil.example"),
        await get(gateway, FILE, "-H", "Origin: null"),
        await get(gateway, FILE, "-X", "POST"),
        await get(gateway, FILE, "-r", "99999-"),
    ]
    for answer in answers:
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        # The token is in the path, so the path must not reach other sites.
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if "access-control" in name]
        assert answer.headers["server"] == "shoal"


async def test_the_token_has_128_bits_and_is_new_each_time(holder: Holder) -> None:
    tokens = set()
    for _ in range(3):
        async with serving(holder) as gateway:
            tokens.add(gateway.token)
    assert len(tokens) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", token) for token in tokens)


# Shared files are shown but never run.


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("x.html", "text/html; charset=utf-8", False),
        ("x.svg", "image/svg+xml", False),
        ("x.XML", "application/xml", False),
        ("x.js", "text/javascript; charset=utf-8", False),
        ("x.pdf", "application/pdf", False),
        ("x.swf", "application/octet-stream", False),
        ("x", "application/octet-stream", False),
        ("x.txt", "text/plain; charset=utf-8", True),
        ("x.mp4", "video/mp4", True),
        ("x.webm", "video/webm", True),
        ("x.PNG", "image/png", True),
    ],
)
async def test_files_that_could_run_are_saved_and_others_are_sandboxed(
    name: str, kind: str, shown: bool
) -> None:
    holding = make_holding(b"<script>alert(1)</script>", name=name)
    async with Holder(holding) as holder, serving(holder) as gateway:
        answer = await get(gateway, f"files/0/{name}")
    assert answer.headers["content-type"] == kind
    shown_as = answer.headers["content-disposition"].partition(";")[0]
    assert shown_as == ("inline" if shown else "attachment")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox")
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy


# Requests that HTTP does not allow.


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_an_ambiguous_path_is_refused(
    gateway: Gateway, holder: Holder, path: str
) -> None:
    answer = await say(gateway, request(gateway, f"files/0/{path}"))
    assert answer.status == 400
    assert holder.sent == []


@pytest.mark.parametrize("odd", ODD_LINES)
async def test_a_request_that_two_programs_would_parse_differently_is_refused(
    gateway: Gateway, holder: Holder, odd: str
) -> None:
    smuggled = request(gateway, FILE)
    data = request(gateway, FILE, ODD_LINES[odd]) + b"0\r\n\r\n" + smuggled
    # 0: the gateway disconnected before reading everything, losing the answer.
    assert (await say(gateway, data)).status in (400, 431, 0)
    assert holder.sent == []


@pytest.mark.parametrize(
    "first",
    [
        b"GET %s",
        b"GET %s HTTP/2.0",
        b"GET %s HTTP/1.1 ",
        b"GET\t%s HTTP/1.1",
        b"\0" * 9,
    ],
)
async def test_a_request_line_that_is_not_http_1_is_refused(
    gateway: Gateway, first: bytes
) -> None:
    line, rest = request(gateway, FILE).split(b"\r\n", 1)
    line = first.replace(b"%s", line.split()[1])
    assert (await say(gateway, line + b"\r\n" + rest)).status in (400, 421, 505)


# Shares that the gateway was not given.


async def test_no_request_makes_the_gateway_look_for_another_share() -> None:
    other = make_holding(1000)
    async with Holder(other) as stranger, Holder(FILM) as holder:
        async with serving(holder, peers=[stranger.address]) as gateway:
            before = len(holder.talks), len(holder.requested)
            wrong = gateway.url.replace(gateway.token, "A" * 22)
            link = str(other.link).removeprefix("shoal:")
            for url in (
                wrong,
                wrong + FILE,
                wrong + f"files/{link}/data",
                gateway.url + f"files/{link}/data",
                gateway.url + f"files/{str(FILM.link)[6:]}/film.mp4",
                gateway.url + "files/1/film.mp4",
                gateway.url + "files/-1/film.mp4",
                gateway.url + "files/00/film.mp4",
                gateway.url + "files/0/other",
                gateway.url + "files/0/film.mp4/x",
                gateway.url + "nosuch",
                f"http://127.0.0.1:{gateway.port}/",
            ):
                assert (await curl(url)).status == 404
            assert (len(holder.talks), len(holder.requested)) == before
        assert stranger.talks == []
