"""A sender and a receiver that know the same code meet, and the receiver gets the link.

Everything runs on 127.0.0.1, over the real transport.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from shoal.codes import offer
from shoal.codes import redeem as redeeming
from shoal.codes.exact_stream import ExactStream
from shoal.codes.offer import MAX_EXCHANGES
from shoal.codes.redeem import MAX_PROOFS
from shoal.core.crypto.pake import PROOF_SIZE
from shoal.core.limits import MAX_GUESSES
from shoal.core.names.address import Address
from shoal.core.names.code import Code
from shoal.core.names.link import Link
from shoal.core.session.code_exchange import (
    GREETING_SIZE,
    VERDICT_SIZE,
    ReceiverExchange,
)
from shoal.errors import CodeError, NotFoundError, PeerError
from shoal.transport.sealed.proven import ProvenPeer
from tests.helpers.codes import (
    CODE,
    LINK,
    WRONG,
    Meet,
    Squatter,
    answer_greeting,
    answer_without_proof,
    dial,
    dialled,
    guess,
    offering,
    redeem,
    refuse,
    say_nothing,
    squatting,
    take_proof,
)

ELSEWHERE = Code(4821, ("zoo", "carbon", "olympic"))
OTHER_LINK = Link(bytes(32))


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a second node after a refusal."""
    monkeypatch.setattr(redeeming, "OTHERS_TIME", 0.2)


async def test_the_receiver_gets_the_link_and_the_address_of_the_sender() -> None:
    async with offering() as sender:
        link = await redeem(CODE, sender.address)
        assert link == Link(LINK.id, hints=(sender.address,))
        assert (await sender.until("used")).guesses_left == MAX_GUESSES
        assert sender.states == ["used"]


@pytest.mark.usefixtures("_impatient")
async def test_a_used_code_is_no_longer_found() -> None:
    async with offering() as sender:
        await redeem(CODE, sender.address)
        await sender.until("used")
        with pytest.raises(NotFoundError, match="used or too old.*ask the sender"):
            await redeem(CODE, sender.address, timeout=0.5)
        assert not sender.port.is_registered(CODE.keys)


async def test_as_many_receivers_as_allowed_get_the_link() -> None:
    async with offering(receivers=3) as sender:
        links = [await redeem(CODE, sender.address) for _ in range(3)]
        assert {link.id for link in links} == {LINK.id}
        await sender.until("used")
        assert [e.receivers_left for e in sender.events] == [2, 1, 0]
        assert sender.states == ["given", "given", "used"]


@pytest.mark.usefixtures("_impatient")
async def test_both_ends_are_told_of_wrong_codes_and_the_third_ends_the_code() -> None:
    async with offering() as sender:
        for left, said in (
            (2, "2 more times before it ends"),
            (1, "wrongly once more before"),
            (0, "has now ended because it was entered wrongly 3 times; ask the sender"),
        ):
            with pytest.raises(CodeError, match=said) as caught:
                await redeem(WRONG, sender.address)
            assert caught.value.exit_code == 8
            assert (await sender.until("wrong" if left else "dead")).receivers_left == 1
        assert [event.guesses_left for event in sender.events] == [2, 1, 0]
        assert sender.states == ["wrong", "wrong", "dead"]
        with pytest.raises(NotFoundError):
            await redeem(CODE, sender.address, timeout=0.5)


@pytest.mark.usefixtures("_impatient")
async def test_a_wrong_code_costs_one_guess_however_the_sender_is_found() -> None:
    """A machine has several addresses; they are all the same node."""
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with offering(hosts=hosts) as sender:
        addresses = [Address(host, sender.port.port) for host in hosts]
        with pytest.raises(CodeError):
            await redeem(WRONG, *addresses)
        assert sender.states == ["wrong"]


@pytest.mark.usefixtures("_impatient")
async def test_a_receiver_hears_at_once_that_a_node_refuses_its_code() -> None:
    notices: list[str] = []
    async with offering() as sender:
        with pytest.raises(CodeError):
            await redeem(WRONG, sender.address, notices=notices)
        said = "refused the code; waiting for another node to answer."
        assert notices == [f"{sender.address} {said}"]


@pytest.mark.usefixtures("_impatient")
async def test_codes_of_the_same_number_do_not_disturb_each_other() -> None:
    async with offering() as one, offering(ELSEWHERE, OTHER_LINK) as two:
        peers = (one.address, two.address)
        assert (await redeem(CODE, *peers)).id == LINK.id
        assert (await redeem(ELSEWHERE, *peers)).id == OTHER_LINK.id
        await one.until("used")
        await two.until("used")
        assert one.states == two.states == ["used"]


async def test_two_codes_of_one_node_do_not_disturb_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with offering() as sender:
        drawn = iter((Code(4821, ("purity", "zoo", "zoo")), ELSEWHERE))
        monkeypatch.setattr(offer, "make_code", lambda entropy: next(drawn))
        resources = sender.offered._resources
        second = offer.offer_code(
            *(resources, sender.port, str(OTHER_LINK)),
            receivers=1,
            seconds=None,
            on_event=lambda event: None,
            until_left=asyncio.Event().wait,
        )
        assert second == ELSEWHERE, "another code of this node meets at the first one"
        assert (await redeem(ELSEWHERE, sender.address)).id == OTHER_LINK.id
        assert (await redeem(CODE, sender.address)).id == LINK.id
        await sender.until("used")
        assert sender.states == ["used"]


async def test_a_code_ends_after_its_time() -> None:
    async with offering(seconds=0.1) as sender:
        expired = await sender.until("expired")
        assert (expired.guesses_left, expired.receivers_left) == (3, 1)
        assert await guess(CODE, sender.address) == b""
        assert sender.states == ["expired"]


async def test_a_proof_that_comes_too_late_is_not_answered() -> None:
    async with offering(seconds=0.5) as sender:
        async with dialled(CODE, sender.address) as stream:
            receiver = ReceiverExchange(CODE, os.urandom)
            stream.write(receiver.greeting)
            proof = receiver.prove(await stream.read(GREETING_SIZE))
            await sender.until("expired")
            assert not sender.port.is_registered(CODE.keys)
            stream.write(proof)
            with pytest.raises(PeerError):
                await stream.read(1)


async def test_a_connection_that_begins_as_the_code_ends_is_harmless() -> None:
    async with offering() as sender:
        await asyncio.sleep(0)  # the code is offered now
        stream = sender.offered._accept(ProvenPeer(sender.address, bytes(16), 2))
        sender.offered._offer.end()
        await asyncio.sleep(0)
        with pytest.raises(PeerError, match="no longer valid"):
            sender.offered._accept(ProvenPeer(sender.address, bytes(16), 2))
        stream.connection_lost(None)


async def test_a_code_ends_when_the_share_is_left() -> None:
    async with offering() as sender:
        resources, left = sender.offered._resources, asyncio.Event()
        second = offer.OfferedCode(
            *(resources, sender.port, ELSEWHERE, str(LINK), 1), sender.on_event
        )
        second.register()
        running = resources.own_task(second.run(600, left.wait))
        assert sender.port.is_registered(ELSEWHERE.keys)
        left.set()
        async with asyncio.timeout(10):
            await running
        assert not sender.port.is_registered(ELSEWHERE.keys)
        assert sender.events == []


# Connections that are not as they should be.


async def _silent(stream: ExactStream) -> None:
    """Send nothing."""


async def _greeting_only(stream: ExactStream) -> None:
    stream.write(ReceiverExchange(CODE, os.urandom).greeting)
    await stream.read(GREETING_SIZE)


async def _half_a_proof(stream: ExactStream) -> None:
    stream.write(ReceiverExchange(CODE, os.urandom).greeting + bytes(PROOF_SIZE - 1))
    await stream.read(GREETING_SIZE)


async def _too_much(stream: ExactStream) -> None:
    stream.write(bytes(GREETING_SIZE + PROOF_SIZE + 1))
    await stream.until_closed()


@pytest.mark.parametrize("say", [_silent, _greeting_only, _half_a_proof, _too_much])
async def test_a_connection_that_proves_nothing_is_no_guess(say: object) -> None:
    assert callable(say)
    async with offering() as sender:
        for _ in range(5):
            async with dialled(CODE, sender.address) as stream:
                await say(stream)
        assert (await redeem(CODE, sender.address)).id == LINK.id
        await sender.until("used")
        assert sender.states == ["used"]


async def test_a_receiver_without_receipt_may_try_again() -> None:
    async with offering() as sender:
        assert (await guess(CODE, sender.address))[0] == 1
        link: Link | None = None
        while link is None:  # the sender may not have noticed the loss yet
            try:
                link = await redeem(CODE, sender.address)
            except CodeError:
                continue
        assert link.id == LINK.id
        await sender.until("used")


@asynccontextmanager
async def proven(sender: Address) -> AsyncIterator[ExactStream]:
    """Yield a connection on which a receiver has proven that it knows the code."""
    async with dialled(CODE, sender) as stream:
        receiver = ReceiverExchange(CODE, os.urandom)
        stream.write(receiver.greeting)
        stream.write(receiver.prove(await stream.read(GREETING_SIZE)))
        await stream.read(VERDICT_SIZE)
        yield stream


async def test_a_right_code_of_one_receiver_too_many_is_not_reported_as_wrong() -> None:
    async with offering() as sender:
        async with proven(sender.address):
            assert (await guess(CODE, sender.address))[0] == 2, "in use"
        assert (await guess(WRONG, sender.address))[0] == 0
        await sender.until("wrong")
        assert sender.states == ["wrong"]


async def test_a_wrong_receipt_is_none() -> None:
    async with offering() as sender:
        async with proven(sender.address) as stream:
            stream.write(bytes(PROOF_SIZE))
            await stream.until_closed()
        assert (await redeem(CODE, sender.address)).id == LINK.id


async def test_many_connections_that_say_nothing_keep_no_receiver_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offer, "HOST_BURST", 2.0 * MAX_EXCHANGES)
    monkeypatch.setattr(offer, "EXCHANGE_BURST", 2.0 * MAX_EXCHANGES)
    async with offering() as sender:
        connections = [dialled(CODE, sender.address) for _ in range(MAX_EXCHANGES + 4)]
        streams = [await each.__aenter__() for each in connections]
        try:
            async with asyncio.timeout(10):
                for each in streams[:4]:
                    await each.until_closed()
            assert (await redeem(CODE, sender.address)).id == LINK.id
        finally:
            for each in streams:
                each.abort()


async def test_a_flood_of_one_host_keeps_no_receiver_of_another_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("EXCHANGE_RATE", "HOST_RATE"):
        monkeypatch.setattr(offer, name, 1e-9)
    async with offering(hosts=("127.0.0.1", "::1")) as sender:
        flooded = Address("::1", sender.port.port)
        for _ in range(int(offer.EXCHANGE_BURST) + 4):
            async with dialled(CODE, flooded):
                pass
        assert (await redeem(CODE, sender.address)).id == LINK.id


async def test_the_oldest_connection_of_the_host_with_the_most_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offer, "MAX_EXCHANGES", 3)
    async with offering(hosts=("127.0.0.1", "::1")) as sender:
        other = Address("::1", sender.port.port)
        addresses = [sender.address, other, other, sender.address]
        streams = [await dial(CODE, address) for address in addresses]
        try:
            async with asyncio.timeout(10):
                await streams[1].until_closed()
            streams[0].write(bytes(GREETING_SIZE))
            assert await streams[0].read(GREETING_SIZE)
        finally:
            for each in streams:
                each.abort()


async def test_a_flood_of_connections_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offer, "EXCHANGE_RATE", 1e-9)
    monkeypatch.setattr(offer, "EXCHANGE_BURST", 3.0)
    async with offering() as sender:
        greeted = 0
        for _ in range(10):
            async with dialled(CODE, sender.address) as stream:
                stream.write(bytes(GREETING_SIZE))
                try:
                    await stream.read(GREETING_SIZE)
                    greeted += 1
                except PeerError:
                    pass
        assert greeted == 3


# Nodes at the rendezvous that do not know the code.


async def _hang_up(squatter: Squatter, stream: ExactStream) -> None:
    """Close the connection after the handshake."""


async def _say_no_point(squatter: Squatter, stream: ExactStream) -> None:
    stream.write(b"\xff" * GREETING_SIZE)
    await stream.until_closed()


async def _reflect(squatter: Squatter, stream: ExactStream) -> None:
    stream.write(await stream.read(GREETING_SIZE))
    await stream.until_closed()


async def _say_too_much(squatter: Squatter, stream: ExactStream) -> None:
    await answer_greeting(squatter, stream)
    stream.write(bytes(2 * VERDICT_SIZE))
    await stream.until_closed()


SQUATTERS = [
    *(_hang_up, _say_no_point, _reflect, answer_without_proof, refuse, _say_too_much),
    say_nothing,
]


@pytest.mark.parametrize("meet", SQUATTERS)
async def test_a_squatter_costs_the_sender_no_guess(meet: Meet) -> None:
    async with squatting(meet) as squatter, offering() as sender:
        link = await redeem(CODE, squatter.address, sender.address)
        assert link.id == LINK.id
        await sender.until("used")
        assert sender.events[0].guesses_left == MAX_GUESSES


@pytest.mark.usefixtures("_impatient")
async def test_squatters_get_few_proofs_each_of_another_key() -> None:
    """Each proof is a guess for the node that receives it."""
    heard = Squatter(Address("127.0.0.1", 1))

    async def meet(squatter: Squatter, stream: ExactStream) -> None:
        await answer_without_proof(heard, stream)

    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(squatting(meet))
            for _ in range(MAX_PROOFS + 4)
        ]
        with pytest.raises(CodeError, match=f"{MAX_PROOFS} nodes answered.*for the li"):
            await redeem(CODE, *(each.address for each in made))
    assert len(heard.proofs) == MAX_PROOFS
    assert len(set(heard.proofs)) == MAX_PROOFS
    assert len(set(heard.greetings)) == len(heard.greetings)


@pytest.mark.usefixtures("_impatient")
async def test_one_squatter_gets_one_proof() -> None:
    async with squatting(take_proof) as squatter:
        with pytest.raises(NotFoundError):
            await redeem(CODE, squatter.address, timeout=3)
        assert len(squatter.proofs) == 1


async def test_a_stream_returns_exactly_what_was_asked_for() -> None:
    stream = ExactStream(10)
    for piece in (b"abc", b"defgh", b"ij"):
        buffer = stream.get_buffer(-1)
        buffer[: len(piece)] = piece
        stream.buffer_updated(len(piece))
    assert [await stream.read(size) for size in (1, 4, 5)] == [b"a", b"bcde", b"fghij"]
    waiting = asyncio.ensure_future(stream.read(2))
    for piece in (b"k", b"l"):
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.get_buffer(-1)[:1] = piece
        stream.buffer_updated(1)
    assert await waiting == b"kl"
    stream.connection_lost(None)
    with pytest.raises(PeerError, match="too early"):
        await stream.read(1)


class _Transport(asyncio.Transport):
    is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


async def test_a_stream_always_has_room_and_cuts_off_a_peer_that_sends_more() -> None:
    stream, transport = ExactStream(4), _Transport()
    stream.connection_made(transport)
    for number in range(6):
        assert transport.is_aborted is (number > 4)
        assert len(stream.get_buffer(-1)) >= 1
        stream.buffer_updated(1)
    with pytest.raises(PeerError, match="more bytes"):
        await stream.read(1)
