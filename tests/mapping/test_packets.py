"""PCP and NAT-PMP packets have the bytes of their RFCs, and nonsense is refused."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import ProtocolError
from shoal.mapping.packets import (
    NatPmpAnswer,
    PcpAnswer,
    natpmp_address_request,
    natpmp_map_request,
    parse_natpmp,
    parse_pcp,
    pcp_announce_request,
    pcp_map_request,
)

NONCE = bytes(range(12))
MAPPED = bytes(10) + b"\xff\xff"
ports = st.integers(0, 65535)
lifetimes = st.integers(0, 2**32 - 1)


def pcp_answer(
    result: int = 0, lifetime: int = 0, inside: int = 1, outside: int = 2
) -> bytes:
    """Return an answer of PCP as RFC 6887 figures 3 and 10 show it."""
    head = bytes((2, 0x81, 0, result)) + struct.pack("!II", lifetime, 7) + bytes(12)
    body = NONCE + bytes((6, 0, 0, 0)) + struct.pack("!HH", inside, outside)
    return head + body + MAPPED + bytes((203, 0, 113, 9))


def test_a_request_of_pcp_has_the_bytes_of_the_rfc() -> None:
    request = pcp_map_request("192.168.1.7", NONCE, 4001, 4002, 3600)
    assert request == bytes.fromhex(
        "02010000" + "00000e10" + "00000000000000000000ffffc0a80107"
        "000102030405060708090a0b" + "06000000" + "0fa1" + "0fa2"
        "00000000000000000000ffff00000000"
    )
    assert pcp_announce_request("192.168.1.7") == bytes.fromhex(
        "02000000" + "00000000" + "00000000000000000000ffffc0a80107"
    )


def test_a_request_for_an_ipv6_address_names_it_and_wants_no_other() -> None:
    request = pcp_map_request("2a00:1::2", NONCE, 4001, 4001, 3600)
    ours = bytes.fromhex("2a000001" + "00" * 11 + "02")
    assert request[8:24] == ours
    assert request[44:] == bytes(16)
    answer = parse_pcp(pcp_answer()[:44] + ours)
    assert answer is not None
    assert answer.host == "2a00:1::2"


def test_a_request_of_natpmp_has_the_bytes_of_the_rfc() -> None:
    assert natpmp_address_request() == b"\0\0"
    expected = bytes.fromhex("00020000" + "0fa1" + "0fa2" + "00000e10")
    assert natpmp_map_request(4001, 4002, 3600) == expected


@given(lifetimes, ports, ports)
def test_an_answer_of_pcp_is_read(lifetime: int, inside: int, outside: int) -> None:
    answer = parse_pcp(pcp_answer(0, lifetime, inside, outside))
    assert answer == PcpAnswer(lifetime, "", NONCE, inside, outside, "203.0.113.9")


@given(ports, ports, lifetimes)
def test_an_answer_of_natpmp_is_read(inside: int, outside: int, lifetime: int) -> None:
    data = bytes((0, 130, 0, 0)) + struct.pack("!IHHI", 9, inside, outside, lifetime)
    expected = NatPmpAnswer(inside=inside, outside=outside, lifetime=lifetime)
    assert parse_natpmp(data) == expected


def test_the_address_of_the_router_is_read() -> None:
    data = bytes((0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 9))
    assert parse_natpmp(data) == NatPmpAnswer(host="203.0.113.9")


@pytest.mark.parametrize(
    "data",
    [bytes((0, 0x80, 0, 1, 0, 0, 0, 9)), bytes((3, 0x81, 0, 1)) + bytes(20)],
    ids=["a server of NAT-PMP", "a later version"],
)
def test_a_router_of_another_version_is_recognised(data: bytes) -> None:
    assert parse_pcp(data) is None


@pytest.mark.parametrize("result", range(1, 256))
def test_an_error_of_pcp_has_a_reason(result: int) -> None:
    answer = parse_pcp(pcp_answer(result))
    if result == 1:
        assert answer is None
    else:
        assert isinstance(answer, PcpAnswer)
        assert answer.problem


@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 65535])
def test_an_error_of_natpmp_has_a_reason(result: int) -> None:
    data = bytes((0, 130)) + struct.pack("!HI", result, 9)
    assert parse_natpmp(data).problem


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pcp_map_request("192.168.1.7", NONCE, 1, 2, 3),
        pcp_answer()[:-1],
        pcp_answer() + bytes(1100),
        pcp_answer()[:36] + b"\x11" + pcp_answer()[37:],
        bytes((2, 0x82)) + pcp_answer()[2:],
    ],
    ids=["none", "a request", "short", "long", "UDP", "another opcode"],
)
def test_what_is_no_answer_of_pcp_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_pcp(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (parse_pcp, parse_natpmp):
        with suppress(ProtocolError):
            read(data)
