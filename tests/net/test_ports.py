"""One TCP port on several addresses."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from shoal.net.ports import bind_port

ABSENT = "192.0.2.1"  # reserved for documentation, RFC 5737


@contextmanager
def bound(
    hosts: list[str], port: int = 0, *, skip_absent: bool = False
) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = bind_port(hosts, port, skip_absent=skip_absent)
        yield [stack.enter_context(each) for each in sockets]


def test_all_addresses_get_the_same_port() -> None:
    # A system without IPv6 leaves out the last.
    hosts = ["127.0.0.1", "127.0.0.2", "::1"]
    with bound(hosts, skip_absent=True) as sockets:
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


def test_an_absent_address_is_skipped_only_on_request() -> None:
    with pytest.raises(OSError, match="Cannot assign"):
        bind_port(["127.0.0.1", ABSENT], 0)
    with bound(["127.0.0.1", ABSENT], skip_absent=True) as sockets:
        assert len(sockets) == 1
    with pytest.raises(OSError, match="Cannot assign"):
        bind_port([ABSENT], 0, skip_absent=True)
