"""Send any bytes in any order to an end of a sealed share; compare with a model.

The model was written from docs/protocol.md alone. A conversation must do what the model
does: report the events that the state allows, send the answers, end with an error that
blames the peer, and stay ended. It begins with the proofs.
"""

import hmac
from typing import TypeAlias

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.proof import ClientProof, Proof, ServerProof
from shoal.core.manifest.chunks import Chunks
from shoal.core.session.sealed_session import SealedSession
from shoal.core.session.session import Event
from shoal.errors import PeerError
from tests.core.session.sealed_model import (
    ALLOWED,
    NO_FRAMES,
    NOT_OURS,
    PORT,
    SHORT,
    STRANGE,
    Ended,
    Model,
    Said,
)
from tests.helpers.streams import ALL, MOST, Stream, explore, feed
from tests.helpers.wire import frame, varint

KEYS, OTHERS = derive_keys(b"i" * 32), derive_keys(b"o" * 32)
OURS, THEIRS = b"o" * 16, b"t" * 16  # node ids
CERTIFICATE, RELAYED = b"c" * 32, b"r" * 32  # their digests
NONCE = b"n" * 32
CHUNKS = Chunks(7 * 16_384, 16_384)
PAGES = 3


def mac(key: bytes, *texts: bytes) -> bytes:
    return hmac.digest(key, b"".join(texts), "sha256")


PROOFS = st.sampled_from(
    ["right"] * 12
    + ["other id", "relayed", "self", "mirror", "version 0", "version 2", "none"]
)
VERSIONS = st.sampled_from([(1, 1)] * 9 + [(1, 3), (0, 1), (2, 3), (2, 1), (0, 0)])
Start: TypeAlias = tuple[bool, tuple[int, int], str, bool, bool]
MOSTLY = st.sampled_from([True, True, False])
STARTS = st.tuples(st.booleans(), VERSIONS, PROOFS, MOSTLY, st.booleans())


class SealedConversation(RuleBasedStateMachine):
    """Hold one conversation after the other, from the first byte after TLS on."""

    @initialize(start=STARTS)
    def connect(self, start: Start) -> None:
        """Begin; mostly with right proofs and a hello."""
        is_server, versions, proof, is_greeted, knows_share = start
        self.is_server = is_server
        kind = ServerProof if is_server else ClientProof
        self.proof: Proof = kind(KEYS, OURS, CERTIFICATE, NONCE)
        self.session = SealedSession()
        self.model = Model()
        self.stream: Stream[Said | str] = Stream()
        self.sent = self.proof.data_to_send()
        self.proving = b""  # received bytes that must be proofs
        self.greeting = bytes((1, 1)) + NONCE if is_server else b""
        self.last: Said | None = None  # the last message that was sent
        self.is_proven = self.is_over = False
        if proof == "none":
            return
        if not is_server:
            self.greet(versions)
            self.deliver(ALL)
        if not self.may_prove:
            return
        self.prove(proof)
        self.deliver(ALL)
        # The client chooses the version.
        is_right = proof == "right" or (proof.startswith("version") and not is_server)
        assert self.is_proven == is_right
        if self.is_proven and knows_share:
            self.learn()
        if self.is_proven and is_greeted:
            self.say([{"type": "hello", "port": 1}], ALL)

    @property
    def may_prove(self) -> bool:
        """Return True if received bytes can be part of a proof."""
        return not (self.is_over or self.is_proven or self.stream)

    # What the peer sends; it has no effect before it is delivered.

    @precondition(lambda self: self.may_prove)
    @rule(versions=st.tuples(st.integers(0, 3), st.integers(0, 3)))
    def greet(self, versions: tuple[int, int]) -> None:
        """Send a server's greeting."""
        self.stream.add(bytes(versions) + b"N" * 32, "proof")

    @precondition(lambda self: self.may_prove)
    @rule(how=PROOFS.filter(lambda how: how != "none"))
    def prove(self, how: str) -> None:
        """Send a proof, right or wrong."""
        version = int(how[-1]) if how.startswith("version") else 1
        keys = OTHERS if how == "other id" else KEYS
        certificate = RELAYED if how == "relayed" else CERTIFICATE
        node_id = OURS if how == "self" else THEIRS
        greeting = self.greeting or bytes((1, 1)) + b"N" * 32
        if how == "mirror":
            # Our own bytes, at most as many as are awaited.
            said = (self.sent + bytes(81))[: 81 if self.is_server else 48]
        elif self.is_server:
            said = bytes((version,)) + b"M" * 32 + node_id
            said += mac(keys.client, b"c", certificate, greeting, said)
        else:
            text = b"s" + certificate + greeting + self.sent + node_id
            said = node_id + mac(keys.server, text)
        self.stream.add(said, "proof")

    @precondition(lambda self: not self.is_over)
    @rule(words=st.lists(st.one_of(ALLOWED), min_size=1, max_size=5), most=MOST)
    def say(self, words: list[Said], most: int) -> None:
        """Send a message that is valid in some state."""
        for self.last in words:
            self.stream.add(frame(self.last), self.last)
        self.deliver(most)

    @precondition(lambda self: not self.is_over)
    @rule(kind=NOT_OURS, port=PORT)
    def say_what_we_do_not_know(self, kind: str, port: int) -> None:
        """Send a message of a later version, or of another protocol."""
        self.stream.add(frame({"type": kind, "port": port}), "unknown")

    @precondition(lambda self: not self.is_over)
    @rule(
        bad=st.sampled_from(STRANGE).map(lambda body: (varint(len(body)) + body, "bad"))
        | st.sampled_from(NO_FRAMES).map(lambda length: (length, "no frame")),
        rarely=st.integers(0, 3),
    )
    def say_what_nobody_may(self, bad: tuple[bytes, str], rarely: int) -> None:
        """Send bytes that are no message, or not even a frame."""
        if not rarely:
            self.stream.add(*bad)

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule(data=SHORT, pick=st.integers(0, 100), most=MOST)
    def answer(self, data: bytes, pick: int, most: int) -> None:
        """Answer a request that the model knows."""
        owed = [{"type": "response", "index": i} for i in +self.model.owed]
        owed += [{"type": "response", "index": 6}] * (self.model.owed_any > 0)
        owed += [{"type": "page", "index": i} for i in sorted(self.model.owed_pages)]
        if owed:
            said = owed[pick % len(owed)] | {"data": data}
            self.say([said], most)

    @precondition(lambda self: self.last and not self.is_over)
    @rule(times=st.integers(1, 3))
    def say_it_again(self, times: int) -> None:
        """Send the last message again, to which nothing may be owed any more."""
        assert self.last is not None
        self.say([self.last] * times, ALL)

    # What this end sends.

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule(index=st.integers(0, 8))
    def request(self, index: int) -> None:
        """Request a chunk."""
        self.session.request(index)
        self.model.owed[index] += 1
        self.model.answers.append({"type": "request", "index": index})

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule()
    def request_any(self) -> None:
        """Request any chunk."""
        self.session.request_any()
        self.model.owed_any += 1
        self.model.answers.append({"type": "request"})

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule(number=st.integers(0, 3))
    def request_page(self, number: int) -> None:
        """Request a page."""
        self.session.request_page(number)
        self.model.owed_pages.add(number)
        self.model.answers.append({"type": "page", "index": number})

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule(index=st.integers(0, 8))
    def cancel(self, index: int) -> None:
        """Cancel a request, whose response is still owed."""
        self.session.cancel(index)
        self.model.answers.append({"type": "cancel", "index": index})

    @precondition(lambda self: self.is_proven and not self.is_over)
    @rule()
    def learn(self) -> None:
        """Learn the root record."""
        self.session.know_share(CHUNKS, PAGES)
        self.model.chunks, self.model.pages = CHUNKS.count, PAGES

    @precondition(lambda self: self.is_over)
    @rule(start=STARTS)
    def connect_again(self, start: Start) -> None:
        """Begin another conversation."""
        self.connect(start)

    # The results.

    @precondition(lambda self: not self.is_over)
    @rule(most=MOST)
    def deliver(self, most: int) -> None:
        """Let bytes arrive, and compare the events with the model."""
        data, whole = self.stream.take(most)
        try:
            if not self.is_proven:
                data = self._deliver_proof(data)
            if not self.is_proven:
                return
            expected, must_end = self._expect(whole)
            got: list[Event] = []
            try:
                got.extend(feed(self.session, data))
            except PeerError:
                assert must_end, "the session ended, and the model did not"
                self.is_over = True
                # Events before the error in the same read are lost.
                assert got == expected[: len(got)]
                return
            assert not must_end, "the model ended, and the session did not"
            assert got == expected
        finally:
            if self.is_over:
                self.stream = Stream()

    def _deliver_proof(self, data: bytes) -> bytes:
        """Pass bytes to the proof; return those that follow it."""
        self.proving += data
        verdict = self._judge()
        try:
            used = self.proof.receive(data)
        except PeerError:
            assert verdict == "wrong", "the proof failed, and the model did not"
            self.is_over = True
            assert self.proof.data_to_send() == b""
            assert self.proof.receive(b"x" * 200) == 0
            return b""
        assert verdict != "wrong", "an invalid proof was accepted"
        self.is_proven = verdict == "right"
        assert self.proof.is_done == self.is_proven
        assert bool(self.proof.peer_node_id) == self.is_proven
        assert self.is_proven or used == len(data)
        said = self.proof.data_to_send()
        self.sent = said or self.sent
        # A server sends its proof only after the client's.
        assert not (said and self.is_server and not self.is_proven)
        return data[used:]

    def _judge(self) -> str:
        """Return whether the received bytes prove that the peer knows the id."""
        if self.is_server:
            if len(self.proving) < 81:
                return "more"
            claims, shown = self.proving[:49], self.proving[49:81]
            true = mac(KEYS.client, b"c", CERTIFICATE, self.greeting, claims)
            fits = claims[0] == 1 and claims[33:] != OURS
            return "right" if fits and shown == true else "wrong"
        if len(self.proving) < 34:
            return "more"
        greeting = self.greeting = self.proving[:34]
        if not greeting[0] == 1 <= greeting[1]:
            return "wrong"
        if len(self.proving) < 82:
            return "more"
        node_id, shown = self.proving[34:50], self.proving[50:82]
        claims = b"\1" + NONCE + OURS
        ours = claims + mac(KEYS.client, b"c", CERTIFICATE, greeting, claims)
        true = mac(KEYS.server, b"s", CERTIFICATE, greeting, ours, node_id)
        return "right" if node_id != OURS and shown == true else "wrong"

    def _expect(self, whole: list[Said | str]) -> tuple[list[Event], bool]:
        """Return the expected events, and whether the conversation ends."""
        expected: list[Event] = []
        for said in whole:
            if said == "proof" or said == "unknown":
                continue
            if said == "no frame":
                return expected, True
            if not isinstance(said, dict):
                if self.model.has_left:  # it is ignored
                    continue
                return expected, True
            try:
                event = self.model.hear(said)
            except Ended:
                return expected, True
            if event is not None:
                expected.append(event)
        return expected, False

    @invariant()
    def it_says_what_it_was_asked_to_and_answers_what_it_must(self) -> None:
        """Compare the sent bytes with the model."""
        if self.is_proven and not self.is_over:
            said = b"".join(self.session.data_to_send())
            assert said == b"".join(map(frame, self.model.answers))
            self.model.answers.clear()


def test_any_order_of_sealed_messages_agrees_with_the_model() -> None:
    explore(SealedConversation, 300)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_orders_of_sealed_messages_agree_with_the_model() -> None:
    for _ in range(10):  # hypothesis keeps a megabyte for each until it is done
        explore(SealedConversation, 1000, derandomize=False)
