"""A response is read the same however it is framed and cut, within limits."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import ProtocolError
from shoal.mapping.responses import MAX_RESPONSE, HttpResponse, parse_response

HEAD = b"HTTP/1.1 200 OK\r\n"


def framed(body: bytes, how: str, piece: int) -> bytes:
    """Return a response with a body that is framed in one of three ways."""
    match how:
        case "length":
            return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        case "chunks":
            parts = (body[i : i + piece] for i in range(0, len(body), piece))
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in parts)
            return HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        case _:
            return HEAD + b"\r\n" + body


@given(
    st.binary(max_size=300),
    st.sampled_from(["length", "chunks", "end"]),
    st.integers(1, 64),
)
def test_a_body_is_complete_as_soon_as_its_frame_says_so(
    body: bytes, how: str, piece: int
) -> None:
    data = framed(body, how, piece)
    assert parse_response(data, is_ended=True) == HttpResponse(200, body)
    if how != "end":
        assert parse_response(data, is_ended=False) == HttpResponse(200, body)
        needed = len(data) - (5 if how == "chunks" else 1)
        assert parse_response(data[:needed], is_ended=False) is None or not body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        HEAD,
        HEAD + b"Content-Length: 9\r\n\r\nshort",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 9999999999999\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        HEAD + b"X: " + bytes(9000) + b"\r\n\r\n",
        HEAD + b"\r\n" + bytes(MAX_RESPONSE),
    ],
)
def test_what_is_no_response_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_response(data, is_ended=True)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, is_ended: bool) -> None:
    with suppress(ProtocolError):
        parse_response(HEAD + data, is_ended=is_ended)
