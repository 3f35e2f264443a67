"""Both ends of a code meet at the real transit relay of magic-wormhole."""

import asyncio
from collections.abc import Iterator

import pytest

from shoal.codes import redeem as redeeming
from shoal.core.names.address import Address
from shoal.errors import CodeError, NotFoundError
from tests.helpers.codes import CODE, LINK, WRONG, offering, redeem
from tests.helpers.commands import free_port
from tests.helpers.transit_relay import transit_relay

SOON = 0.2  # seconds: half of it is for other ways


@pytest.fixture(scope="module")
def relay() -> Iterator[Address]:
    address = Address("127.0.0.1", free_port())
    with transit_relay(*address):
        yield address


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try the relay at once, and do not wait for a second node after a refusal."""
    monkeypatch.setattr(redeeming, "direct_time", lambda timeout: 0.0)
    monkeypatch.setattr(redeeming, "OTHERS_TIME", 0.2)


async def test_the_link_comes_through_a_relay_without_the_address_of_it(
    relay: Address,
) -> None:
    async with offering(relays=(relay,)) as sender:
        assert await redeem(CODE, relays=(relay,)) == LINK
        await sender.until("used")


async def test_a_wrong_code_is_refused_at_a_relay_and_costs_one_guess(
    relay: Address,
) -> None:
    notices: list[str] = []
    async with offering(relays=(relay,)) as sender:
        with pytest.raises(CodeError, match="2 more times"):
            await redeem(WRONG, relays=(relay,), notices=notices)
        assert notices == [
            f"A node at the relay {relay} refused the code; waiting for another node "
            "to answer."
        ]
        assert await redeem(CODE, relays=(relay,)) == LINK
        await sender.until("used")
        assert sender.states == ["wrong", "used"]


async def test_several_receivers_meet_the_sender_at_a_relay(relay: Address) -> None:
    async with offering(receivers=3, relays=(relay,)) as sender:
        async with asyncio.TaskGroup() as tasks:
            links = [tasks.create_task(redeem(CODE, relays=(relay,))) for _ in range(3)]
        assert [link.result() for link in links] == [LINK] * 3
        await sender.until("used")
        assert sender.states == ["given", "given", "used"]


async def test_receivers_do_not_meet_each_other_at_a_relay(
    relay: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "MAX_PROOFS", 1)  # the first one would be an error
    both = (redeem(CODE, relays=(relay,), timeout=1.0) for _ in range(2))
    for ended in await asyncio.gather(*both, return_exceptions=True):
        assert isinstance(ended, NotFoundError)


async def test_the_message_names_the_relay_at_which_no_sender_was(
    relay: Address,
) -> None:
    with pytest.raises(NotFoundError, match=f"nor at the relay {relay}. It may be"):
        await redeem(CODE, relays=(relay,), timeout=SOON)
    with pytest.raises(NotFoundError, match="or a relay on both sides"):
        await redeem(CODE, timeout=SOON)


async def test_a_relay_that_cannot_be_used_is_reported() -> None:
    nowhere, notices = Address("127.0.0.1", free_port()), list[str]()
    with pytest.raises(NotFoundError):
        await redeem(CODE, relays=(nowhere,), timeout=SOON, notices=notices)
    assert f"The relay {nowhere} cannot be used: " in notices[0]
