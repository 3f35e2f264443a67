"""One TCP port on several addresses."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from shoal.net.ports import bind_port
from shoal.net.socket_names import host_of

ABSENT = "192.0.2.1"  # reserved for documentation, RFC 5737


@contextmanager
def bound(
    hosts: list[str], port: int = 0, *, is_dual: bool = False
) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = bind_port(hosts, port, is_dual=is_dual)
        yield [stack.enter_context(each) for each in sockets.values()]


def test_all_addresses_get_the_same_port() -> None:
    # A system without IPv6 leaves out the last.
    hosts = ["127.0.0.1", "127.0.0.2", "::1"]
    with bound(hosts) as sockets:
        names = [each.getsockname() for each in sockets]
        assert [name[0] for name in names] in (hosts, hosts[:2])
        assert len({name[1] for name in names}) == 1
        for each in sockets:
            assert each.getblocking() is False
            socket.create_connection(each.getsockname()[:2]).close()


def test_a_taken_port_is_refused_and_leaves_no_socket_open() -> None:
    with bound(["127.0.0.2"]) as (taken,):
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            bind_port(["127.0.0.1", "127.0.0.2"], port)
        assert caught.value.errno == errno.EADDRINUSE
        with bound(["127.0.0.1"], port):
            pass


def test_a_free_port_is_chosen_again_if_one_address_has_it_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bound(["127.0.0.2"]) as (taken,):
        free = iter((taken.getsockname()[1], 0))
        bind = socket.socket.bind

        def bind_next(self: socket.socket, address: tuple[str, int]) -> None:
            host, port = address
            bind(self, (host, port or next(free)))

        monkeypatch.setattr(socket.socket, "bind", bind_next)
        with bound(["127.0.0.1", "127.0.0.2"]) as sockets:
            assert sockets[0].getsockname()[1] != taken.getsockname()[1]


@pytest.mark.parametrize("absent", [ABSENT, "2001:db8::1", "fe80::1%nosuch0"])
def test_an_absent_address_is_left_out_unless_there_is_no_other(absent: str) -> None:
    with bound(["127.0.0.1", absent]) as sockets:
        assert len(sockets) == 1
    with pytest.raises(OSError, match="[Cc]annot assign|no interface") as caught:
        bind_port([absent], 0)
    assert caught.value.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@pytest.mark.parametrize(("is_dual", "host"), [(False, None), (True, "127.0.0.1")])
def test_all_of_ipv6_includes_ipv4_only_on_request(
    is_dual: bool, host: str | None
) -> None:
    with bound(["::"], is_dual=is_dual) as (listening,):
        port = listening.getsockname()[1]
        try:
            with socket.create_connection(("127.0.0.1", port)):
                accepted, name = listening.accept()
                accepted.close()
        except ConnectionRefusedError:
            assert host is None
        else:
            assert host_of(name) == host


def test_both_families_share_a_port() -> None:
    with bound(["0.0.0.0", "::"]) as (first, *others):
        for each in others:
            assert each.getsockname()[1] == first.getsockname()[1]
