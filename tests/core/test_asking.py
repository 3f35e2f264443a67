"""What is asked of whom, and how much before a giver has proven anything."""

from random import Random

from shoal.core.asking import Asking
from shoal.core.chunks import Bitfield, Chunks
from shoal.core.window import FIRST_REQUESTS

CHUNKS = Chunks(40 * 16_384, 16_384)


def begin(*givers: str) -> Asking[str]:
    asking: Asking[str] = Asking(CHUNKS, Bitfield(CHUNKS.count), Random(1))
    for giver in givers:
        asking.add(giver)
    return asking


def ask(asking: Asking[str], giver: str) -> list[int]:
    """Ask a giver for as much as there is room for."""
    room = asking.room(giver, 0)
    return asking.next_requests(giver, room, 0.0)[1] if room > 0 else []


def test_who_has_proven_nothing_owes_one_chunk_or_its_verdict() -> None:
    asking = begin("one")
    (index,) = ask(asking, "one")
    assert ask(asking, "one") == []
    assert asking.on_answer("one", index, 0.01, was_any=False)
    assert ask(asking, "one") == [], "it was asked before the verdict"
    asking.on_verified(index, "one")
    assert len(ask(asking, "one")) >= FIRST_REQUESTS


def test_what_one_giver_proves_is_not_believed_of_another() -> None:
    asking = begin("one", "two")
    (mine,), (other,) = ask(asking, "one"), ask(asking, "two")
    asking.on_answer("one", mine, 0.01, was_any=False)
    asking.on_answer("two", other, 0.01, was_any=False)
    asking.on_verified(mine, "one")
    asking.on_failed(other)
    assert ask(asking, "two") == [], "a liar is asked again"
    assert ask(asking, "one")


def test_an_answer_that_was_not_needed_proves_nothing() -> None:
    asking = begin("one", "two")
    (mine,) = ask(asking, "one")
    asking.on_answer("one", mine, 0.01, was_any=False)
    asking.on_verified(mine, "one")
    assert not asking.on_answer("two", mine, 0.01, was_any=False)
    assert len(ask(asking, "two")) == 1


def test_who_comes_again_proves_itself_again() -> None:
    asking = begin("one")
    (index,) = ask(asking, "one")
    asking.on_answer("one", index, 0.01, was_any=False)
    asking.remove("one")
    asking.on_verified(index, "one")  # too late to mean anything
    asking.add("one")
    assert len(ask(asking, "one")) == 1
