"""The descriptions of routers lead to services on the router itself, and no further."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import ProtocolError
from shoal.mapping.responses import MAX_DEPTH, MAX_ELEMENTS, parse_elements
from shoal.mapping.upnp import (
    Service,
    Url,
    find_services,
    parse_location,
    parse_url,
    read_result,
    search_requests,
    soap_request,
)

ROUTER = "192.168.1.1"
BASE = Url(ROUTER, 5000, "/root/desc.xml")
IP_1, IP_2, PPP = (
    f"urn:schemas-upnp-org:service:{name}"
    for name in ("WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1")
)


def description(*services: tuple[str, str], base: str = "") -> bytes:
    """Return a description with these services: their types and URLs."""
    listed = "".join(
        f"<service><serviceType>{kind}</serviceType>"
        f"<controlURL>{url}</controlURL></service>"
        for kind, url in services
    )
    prefix = f"<URLBase>{base}</URLBase>" if base else ""
    return (
        f'<?xml version="1.0"?><root xmlns="urn:x">{prefix}<device><deviceList>'
        f"<device><serviceList>{listed}</serviceList></device></deviceList></device>"
        "</root>"
    ).encode()


def test_services_are_found_in_order_of_preference() -> None:
    found = find_services(
        description(
            (PPP, "ctl/ppp"), (IP_1, "/ctl/1"), ("urn:other", "/x"), (IP_2, "2")
        ),
        BASE,
    )
    assert found == [
        Service(IP_2, Url(ROUTER, 5000, "/root/2")),
        Service(IP_1, Url(ROUTER, 5000, "/ctl/1")),
        Service(PPP, Url(ROUTER, 5000, "/root/ctl/ppp")),
    ]


def test_a_base_in_the_description_counts_if_it_is_the_router() -> None:
    given_base = description((IP_1, "ctl"), base=f"http://{ROUTER}:49152/a/")
    assert find_services(given_base, BASE)[0].url == Url(ROUTER, 49152, "/a/ctl")


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.2/ctl",
        "https://192.168.1.1/ctl",
        "http://router.example/ctl",
        "http://192.168.1.1@10.0.0.1/ctl",
        "http://192.168.1.1:99999/ctl",
        "//10.0.0.1/ctl",
        "http://[::1]/ctl",
        "http://[/ctl",
    ],
)
def test_a_service_on_another_host_is_left_out(url: str) -> None:
    assert find_services(description((IP_1, url)), BASE) == []


def test_an_answer_to_a_search_names_the_description() -> None:
    data = b"HTTP/1.1 200 OK\r\nST: x\r\nLocation:http://192.168.1.1:5000/d.xml\r\n\r\n"
    assert parse_location(data, ROUTER) == Url(ROUTER, 5000, "/d.xml")
    with pytest.raises(ProtocolError):
        parse_location(data, "192.168.1.2")
    with pytest.raises(ProtocolError):
        parse_location(b"NOTIFY * HTTP/1.1" + data[15:], ROUTER)


@pytest.mark.parametrize("space", [" ", "\r\n", "\t", "\x00", "é"])
def test_a_path_cannot_add_lines_to_a_request(space: str) -> None:
    with pytest.raises(ProtocolError):
        parse_url(f"http://{ROUTER}/a{space}b", ROUTER)


def test_a_search_is_a_request_of_ssdp() -> None:
    requests = list(search_requests())
    assert all(each.startswith(b"M-SEARCH * HTTP/1.1\r\n") for each in requests)
    assert all(each.endswith(b"\r\n\r\n") for each in requests)


def test_a_request_is_the_xml_of_its_action() -> None:
    service = Service(IP_1, BASE)
    request = soap_request(service, "Act", {"NewA": 1, "NewB": "x"})
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"CONTENT-LENGTH: {len(body)}\r\n".encode() in head
    assert f'SOAPACTION: "{IP_1}#Act"'.encode() in head
    action = next(parse_elements(body).find_all("Act"))
    assert [(each.name, each.text) for each in action.children] == [
        ("NewA", "1"),
        ("NewB", "x"),
    ]


def test_results_and_errors_are_read() -> None:
    result, code = read_result(200, b"<e:E xmlns:e='u'><NewX> 1.2.3.4 </NewX></e:E>")
    assert (result.text_of("NewX"), code) == ("1.2.3.4", 0)
    _, code = read_result(500, b"<s:E xmlns:s='u'><errorCode>718</errorCode></s:E>")
    assert code == 718
    for body in (b"<e/>", b"<e><errorCode>many</errorCode></e>", b"no XML"):
        with pytest.raises(ProtocolError):
            read_result(500, body)


def test_no_entity_is_expanded() -> None:
    bomb = b"<!DOCTYPE r [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><r>&b;</r>"
    for data in (bomb, b"<!DOCTYPE r SYSTEM 'http://192.0.2.1/x'><r/>", b"<r>&b;</r>"):
        with pytest.raises(ProtocolError):
            parse_elements(data)
    assert parse_elements(b"<r>&lt;&#65;</r>").text_of("r") == "<A"


def test_depth_and_number_of_elements_are_limited() -> None:
    deep = MAX_DEPTH * b"<a>" + MAX_DEPTH * b"</a>"
    parse_elements(deep)
    wide = b"<r>" + (MAX_ELEMENTS - 1) * b"<a/>" + b"</r>"
    parse_elements(wide)
    for data in (b"<a>" + deep + b"</a>", wide.replace(b"<r>", b"<r><a/>")):
        with pytest.raises(ProtocolError):
            parse_elements(data)


@given(st.text("<>/ab&;![]='\"?- \n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ProtocolError):
        find_services(text.encode(), BASE)
