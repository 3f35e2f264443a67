"""A connection whose other end cannot be reached any more is given up.

Real partitions last longer than a test of an edge: tests/system/test_partition.py.
"""

import socket

import pytest

from shoal.transport.liveness import SILENCE_LIMIT
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
