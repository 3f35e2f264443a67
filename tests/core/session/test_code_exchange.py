"""The exchange of a code gives the link to those who know it, and nothing to others."""

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.crypto.pake import SenderPake
from shoal.core.limits import MAX_GUESSES
from shoal.core.names.code import Code
from shoal.core.names.code_words import WORDS
from shoal.core.session.code_exchange import (
    VERDICT_SIZE,
    CodeOffer,
    Given,
    ReceiverExchange,
    Refused,
)
from shoal.errors import ProtocolError, UsageError

CODE = Code(4821, ("purity", "carbon", "olympic"))
OTHER = Code(4821, ("purity", "carbon", "zoo"))
LINK = "shoal:" + "a" * 56
# Points that no honest end sends: of small order, off the curve, and of another order.
BAD_POINTS = [
    bytes(32),
    (1).to_bytes(32, "little"),
    b"\xff" * 32,
    (2).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
]


def make_offer(receivers: int = 1, link: str = LINK) -> CodeOffer:
    return CodeOffer(CODE, link, receivers=receivers, entropy=os.urandom)


def receive(
    offer: CodeOffer, code: Code = CODE, *, sends_receipt: bool = True
) -> object:
    """Run both ends; return what the receiver reads."""
    receiver = ReceiverExchange(code, os.urandom)
    sender = offer.begin()
    verdict = sender.answer(receiver.greeting, receiver.prove(sender.greeting))
    assert len(verdict) == VERDICT_SIZE
    read = receiver.read(verdict)
    if isinstance(read, Given):
        assert sender.is_given
        assert sender.end(read.receipt if sends_receipt else b"") is sends_receipt
    else:
        assert not sender.end(os.urandom(32))
    return read


def link_of(read: object) -> str:
    assert isinstance(read, Given)
    return read.link


def test_the_right_code_gives_the_link_once() -> None:
    offer = make_offer()
    assert link_of(receive(offer)) == LINK
    assert offer.is_over
    with pytest.raises(ProtocolError, match="no longer valid"):
        receive(offer)


def test_three_wrong_codes_end_a_code() -> None:
    offer = make_offer()
    for left in (2, 1, 0):
        assert receive(offer, OTHER) == Refused(is_in_use=False, guesses_left=left)
    assert offer.is_over
    with pytest.raises(ProtocolError, match="no longer valid"):
        receive(offer)


def test_a_right_code_after_two_wrong_ones_is_accepted() -> None:
    offer = make_offer(receivers=2)
    receive(offer, OTHER)
    receive(offer, OTHER)
    assert link_of(receive(offer)) == LINK
    assert receive(offer, OTHER) == Refused(is_in_use=False, guesses_left=0)
    assert offer.is_over, "a right one does not give wrong ones back"


def test_as_many_receivers_as_allowed_get_the_link() -> None:
    offer = make_offer(receivers=3)
    for _ in range(3):
        assert not offer.is_over
        assert link_of(receive(offer)) == LINK
    assert offer.is_over


def test_a_receiver_whose_connection_was_lost_may_try_again() -> None:
    offer = make_offer()
    receive(offer, sends_receipt=False)
    assert not offer.is_over
    assert link_of(receive(offer)) == LINK
    assert offer.is_over


def test_two_receivers_at_once_do_not_both_get_the_link() -> None:
    offer = make_offer()
    ends = [(ReceiverExchange(CODE, os.urandom), offer.begin()) for _ in range(2)]
    read = [
        receiver.read(sender.answer(receiver.greeting, receiver.prove(sender.greeting)))
        for receiver, sender in ends
    ]
    assert link_of(read[0]) == LINK
    assert read[1] == Refused(is_in_use=True, guesses_left=MAX_GUESSES)
    assert not offer.is_over, "the first may still be lost"
    ends[0][1].end()
    assert link_of(receive(offer)) == LINK


def test_one_connection_has_one_guess() -> None:
    offer = make_offer()
    receiver, sender = ReceiverExchange(OTHER, os.urandom), offer.begin()
    proof = receiver.prove(sender.greeting)
    sender.answer(receiver.greeting, proof)
    with pytest.raises(ProtocolError, match="second proof"):
        sender.answer(receiver.greeting, proof)
    assert offer.guesses_left == MAX_GUESSES - 1


def test_no_two_connections_have_the_same_greeting() -> None:
    offer = make_offer()
    offer.prepare()
    offer.prepare()
    assert len({offer.begin().greeting for _ in range(5)}) == 5


def test_a_connection_without_a_proof_is_no_guess() -> None:
    offer = make_offer()
    for _ in range(20):
        assert not offer.begin().end()
    assert link_of(receive(offer)) == LINK


@pytest.mark.parametrize("point", BAD_POINTS, ids=lambda p: p.hex()[:8])
def test_a_greeting_that_is_no_point_is_a_wrong_guess(point: bytes) -> None:
    offer = make_offer()
    verdict = offer.begin().answer(point, os.urandom(32))
    assert verdict == bytes((0, 2)).ljust(VERDICT_SIZE, b"\0")
    with pytest.raises(ProtocolError, match="no point"):
        ReceiverExchange(CODE, os.urandom).prove(point)


def test_a_reflected_greeting_gives_nothing() -> None:
    offer = make_offer()
    sender = offer.begin()
    verdict = sender.answer(sender.greeting, os.urandom(32))
    assert verdict[:2] == b"\0\2"
    receiver = ReceiverExchange(CODE, os.urandom)
    with pytest.raises(ProtocolError, match="no point"):
        receiver.prove(receiver.greeting)


def test_after_its_time_a_code_is_over() -> None:
    offer = make_offer()
    receiver, sender = ReceiverExchange(CODE, os.urandom), offer.begin()
    offer.end()
    assert offer.is_over
    with pytest.raises(ProtocolError, match="no longer valid"):
        sender.answer(receiver.greeting, receiver.prove(sender.greeting))


def test_ten_thousand_random_codes_learn_nothing() -> None:
    """The first forty open their connections before any of them sends a proof."""
    offer, rng = make_offer(), Random(1)
    open_ends = [offer.begin() for _ in range(40)]
    verdicts, refused = [], 0
    for _ in range(10_000):
        words = ("purity", rng.choice(WORDS), rng.choice(WORDS))
        assert words != CODE.words
        try:
            sender = open_ends.pop() if open_ends else offer.begin()
            receiver = ReceiverExchange(Code(4821, words), os.urandom)
            proof = receiver.prove(sender.greeting)
            verdicts.append(sender.answer(receiver.greeting, proof))
        except ProtocolError:
            refused += 1
    assert verdicts == [bytes((0, n)).ljust(VERDICT_SIZE, b"\0") for n in (2, 1, 0)]
    assert (offer.is_over, refused) == (True, 9_997)


@pytest.mark.parametrize("result", range(4))
@pytest.mark.parametrize("fill", [bytes, os.urandom])
def test_a_squatter_cannot_give_a_link(
    result: int, fill: Callable[[int], bytes]
) -> None:
    """It knows where to meet, and guesses the words of the code."""
    receiver = ReceiverExchange(CODE, os.urandom)
    receiver.prove(SenderPake(OTHER.password, os.urandom).message)
    verdict = bytes((result,)) + fill(VERDICT_SIZE - 1)
    if result in (0, 2):
        read = receiver.read(verdict)
        assert isinstance(read, Refused)
        assert 0 <= read.guesses_left <= MAX_GUESSES
    else:
        with pytest.raises(ProtocolError, match="does not know"):
            receiver.read(verdict)


def test_who_does_not_know_the_code_cannot_prove_it_to_the_receiver() -> None:
    """A node with another code of the same number and first word."""
    offer = CodeOffer(OTHER, LINK, receivers=1, entropy=os.urandom)
    sender, receiver = offer.begin(), ReceiverExchange(CODE, os.urandom)
    receiver.prove(sender.greeting)
    other = ReceiverExchange(OTHER, os.urandom)
    given = sender.answer(other.greeting, other.prove(sender.greeting))
    assert given[0] == 1
    with pytest.raises(ProtocolError, match="does not know"):
        receiver.read(given)


@given(st.integers(0, 8 * VERDICT_SIZE - 1))
@settings(max_examples=100, deadline=None)
def test_a_verdict_with_a_flipped_bit_gives_no_link(bit: int) -> None:
    receiver, sender = ReceiverExchange(CODE, os.urandom), make_offer().begin()
    verdict = bytearray(
        sender.answer(receiver.greeting, receiver.prove(sender.greeting))
    )
    verdict[bit // 8] ^= 1 << bit % 8
    if 8 <= bit < 16:
        return  # the number of guesses is only information
    try:
        assert isinstance(receiver.read(bytes(verdict)), Refused)
    except ProtocolError:
        pass


def test_a_recording_does_not_tell_which_words_were_right() -> None:
    """With both greetings, the proof of every guess needs a number that neither sent.

    An attacker that guesses the right words, but has only a recording, computes another
    key, because its own random number is another one.
    """
    offer = make_offer()
    receiver, sender = ReceiverExchange(CODE, os.urandom), offer.begin()
    proof = receiver.prove(sender.greeting)
    verdict = sender.answer(receiver.greeting, proof)
    for code in (CODE, OTHER):
        attacker = ReceiverExchange(code, os.urandom)
        assert attacker.prove(sender.greeting) != proof
        with pytest.raises(ProtocolError, match="does not know"):
            attacker.read(verdict)
        pake = SenderPake(code.password, os.urandom)
        assert pake.finish(receiver.greeting).receiver_proof != proof


def test_a_link_of_any_allowed_length_fits_and_a_longer_one_is_refused() -> None:
    for size in (0, 1, 8190):
        assert link_of(receive(make_offer(link="x" * size))) == "x" * size
    with pytest.raises(UsageError, match="too long for a code"):
        make_offer(link="x" * 8191)
