"""An error in any task of a swarm reaches everyone who waits for the swarm."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.errors import ShoalError
from shoal.transfer.dialler import Found
from tests.helpers.memory_net import Member, memory_net
from tests.helpers.memory_peers import MANIFEST, source, until_verified
from tests.helpers.memory_store import TransientStore
from tests.helpers.virtual_time import virtual_time


async def broken_discovery() -> AsyncIterator[tuple[Address, str]]:
    """Fail after a second, with an error that no one expects."""
    for second in range(2):
        await asyncio.sleep(second)
        if second:
            raise UnicodeError("label empty or too long")
        yield Address("10.0.9.9", 4000), "test"


async def load(member: Member) -> Any:
    return await member.swarm.load(Manifest.missing)


async def until_shared(member: Member) -> None:
    await member.swarm.completed.until(1)


@pytest.mark.parametrize("wait", [load, until_shared])
@virtual_time
async def test_a_failing_task_ends_every_wait_at_once(
    wait: Callable[[Member], Awaitable[Any]],
) -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id)
        running = asyncio.create_task(member.swarm.run([broken_discovery()]))
        begun = asyncio.get_running_loop().time()
        with pytest.raises(UnicodeError, match="label empty"):
            await wait(member)
        assert asyncio.get_running_loop().time() - begun < 2
        with pytest.raises(UnicodeError):
            await running
        with pytest.raises(UnicodeError):
            await wait(member)


@virtual_time
async def test_a_failing_task_ends_a_fetch_and_a_read_at_once() -> None:
    async with memory_net() as net:
        giver, member = source(net), net.join(MANIFEST.id)
        giver.begin()
        found: list[Found] = [known(giver.address), broken_discovery()]
        running = asyncio.create_task(member.swarm.run(found))
        manifest = await load(member)
        await giver.vanish()
        download = member.swarm.begin(TransientStore(manifest.chunks))
        reading = asyncio.create_task(until_verified(member, 39))
        with pytest.raises(UnicodeError):
            await reading
        assert not download.is_complete
        with pytest.raises(UnicodeError):
            await running
        await member.swarm.stop()


@virtual_time
async def test_leaving_ends_every_wait_with_an_error_that_says_so() -> None:
    async with memory_net() as net:
        member = net.join(MANIFEST.id).begin()
        loading = asyncio.create_task(load(member))
        await asyncio.sleep(1)
        await member.vanish()
        with pytest.raises(ShoalError, match="has left the share"):
            await loading


async def known(address: Address) -> AsyncIterator[tuple[Address, str]]:
    yield address, "test"
