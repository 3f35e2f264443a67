"""A connection whose other end is unreachable ends.

Real partitions are in tests/system/test_partition.py.
"""

import socket
from asyncio.trsock import TransportSocket

import pytest

from shoal.transport.liveness import SILENCE_LIMIT, has_hung_up
from tests.helpers.sealed import open_sealed


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option"
)
async def test_both_ends_of_a_connection_watch_for_silence() -> None:
    async with open_sealed() as sealed:
        ours = await sealed.dial()
        for end in (ours, (await sealed.first())):
            sock = end.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            limit = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit == 1000 * SILENCE_LIMIT
        ours.transport.abort()


@pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="this system has no TCP_INFO"
)
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_hang_up_is_noticed_without_reading(is_reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with theirs, ours:
            watched = TransportSocket(ours)
            theirs.sendall(b"x" * 5000)
            assert not has_hung_up(watched)
            if is_reset:
                ours.sendall(b"unread")
                assert theirs.recv(1)
            theirs.close()
            assert has_hung_up(watched)
            assert ours.recv(5000) if not is_reset else True
