"""A connection whose other end cannot be reached any more is given up.

Real partitions last longer than a test of an edge: tests/system/test_partition.py.
"""

import socket
from asyncio.trsock import TransportSocket

import pytest

from shoal.transport.liveness import SILENCE_LIMIT, has_hung_up
from tests.helpers.sealed import open_sealed


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option"
)
async def test_both_ends_are_told_to_notice() -> None:
    async with open_sealed() as sealed:
        ours = await sealed.dial()
        for end in (ours, sealed.served[0]):
            sock = end.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            limit = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit == 1000 * SILENCE_LIMIT
        ours.transport.abort()


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system cannot say")
@pytest.mark.parametrize("is_reset", [False, True])
def test_who_hangs_up_is_noticed_though_nobody_reads(is_reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with theirs, ours:
            watched = TransportSocket(ours)
            theirs.sendall(b"x" * 5000)
            assert not has_hung_up(watched)
            if is_reset:
                ours.sendall(b"nobody reads this")
                assert theirs.recv(1)
            theirs.close()
            assert has_hung_up(watched)
            assert ours.recv(5000) if not is_reset else True
