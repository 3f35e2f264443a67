"""How encrypted data is passed to the socket."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from shoal.core.crypto.noise import Cipher
from shoal.core.wire.noise_messages import sealed_size
from shoal.transport.making import Data
from shoal.transport.sealed.outgoing import SLICE_SLACK, WRITE_SLICE, Outgoing


class Recorder(asyncio.Transport):
    """A transport whose socket accepts everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: Data) -> None:
        self.sizes.append(len(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


async def sizes_written(length: int) -> list[int]:
    """Return the sizes in which a thread's batch of `length` bytes is written."""
    sealed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def fail() -> None:
        sealed.cancel()

    with ThreadPoolExecutor(1) as threads:
        outgoing = Outgoing(
            Cipher(bytes(32)),
            threads,
            on_sealed=sealed.set_result,
            on_error=fail,
        )
        outgoing.transport = recorder = Recorder()
        outgoing.write(bytes(length))
        outgoing.send()
        await sealed
    assert sum(recorder.sizes) == sealed_size(length)[1]
    return recorder.sizes


@pytest.mark.parametrize("slices", [1, 2, 4])
async def test_the_tags_of_a_chunk_take_no_system_call_of_their_own(
    slices: int,
) -> None:
    sizes = await sizes_written(slices * WRITE_SLICE)
    assert len(sizes) == slices


async def test_a_part_is_written_in_slices_of_nearly_one_size() -> None:
    sizes = await sizes_written(2 * WRITE_SLICE + 2 * SLICE_SLACK)
    assert len(sizes) == 3
    assert max(sizes) <= WRITE_SLICE + SLICE_SLACK
