"""Send any bytes in any order to an end of a sealed share; compare with a model.

The model was written from docs/protocol.md alone. A conversation must do what the model
does: report the events that the state allows, send the answers, end with an error that
blames the peer, and stay ended. It begins after the handshake.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shoal.core.manifest.blocks import Run
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.pages import PageKey
from shoal.core.session.events import Event
from shoal.core.session.sealed_session import SealedSession
from shoal.errors import PeerError
from tests.core.session.sealed_model import (
    ALLOWED,
    BLOCK,
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
from tests.helpers.wire import frame, sealed_frame, varint

CHUNKS = Chunks(7 * 16_384, 16_384)
PAGES = 3


MOSTLY = st.sampled_from([True, True, False])


class SealedConversation(RuleBasedStateMachine):
    """Hold one conversation after the other, from the first message on."""

    @initialize(is_greeted=MOSTLY, knows_share=st.booleans())
    def connect(self, is_greeted: bool, knows_share: bool) -> None:
        """Begin; mostly with a hello."""
        self.session = SealedSession()
        self.model = Model()
        self.stream: Stream[Said | str] = Stream()
        self.last: Said | None = None  # the last message that was sent
        self.is_over = False
        if knows_share:
            self.learn()
        if is_greeted:
            self.say([{"type": "hello", "port": 1}], ALL)

    # What the peer sends; it has no effect before it is delivered.

    @precondition(lambda self: not self.is_over)
    @rule(words=st.lists(st.one_of(ALLOWED), min_size=1, max_size=5), most=MOST)
    def say(self, words: list[Said], most: int) -> None:
        """Send a message that is valid in some state."""
        for self.last in words:
            self.add(self.last)
        self.deliver(most)

    def add(self, said: Said) -> None:
        """Send a message, and the data that follows a response."""
        whole, data = sealed_frame(said), said.get("data", b"")
        if said["type"] != "response" or not data:
            self.stream.add(whole, said)
            return
        self.stream.add(whole[: -len(data)], said)
        self.stream.add(data, {"type": "data", "data": data})

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

    @precondition(lambda self: not self.is_over)
    @rule(data=SHORT, pick=st.integers(0, 100), most=MOST)
    def answer(self, data: bytes, pick: int, most: int) -> None:
        """Answer a request that the model knows."""
        owed = [{"type": "response", "index": i} for i in +self.model.owed]
        owed += [{"type": "response", "index": 6}] * (self.model.owed_any > 0)
        owed += [
            {"type": "page", "table": "hashes", "level": 0, "index": i}
            for i in sorted(self.model.owed_pages)
        ]
        for read, (_, has_hashes) in self.model.reads.items():
            block: Said = {"type": "blocks", "read": read}
            owed.append(block | ({"hashes": bytes(32)} if has_hashes else {}))
        if owed:
            said = owed[pick % len(owed)] | {"data": data}
            if said["type"] == "blocks" and pick < 80:
                said["data"] = bytes(BLOCK)
            self.say([said], most)

    @precondition(lambda self: self.last and not self.is_over)
    @rule(times=st.integers(1, 3))
    def say_it_again(self, times: int) -> None:
        """Send the last message again, to which nothing may be owed any more."""
        assert self.last is not None
        self.say([self.last] * times, ALL)

    # What this end sends.

    @precondition(lambda self: not self.is_over)
    @rule(index=st.integers(0, 8))
    def request(self, index: int) -> None:
        """Request a chunk."""
        self.session.request(index)
        self.model.owed[index] += 1
        self.model.answers.append({"type": "request", "index": index})

    @precondition(lambda self: not self.is_over)
    @rule()
    def request_any(self) -> None:
        """Request any chunk."""
        self.session.request_any()
        self.model.owed_any += 1
        self.model.answers.append({"type": "request"})

    @precondition(lambda self: not self.is_over)
    @rule(index=st.integers(0, CHUNKS.count - 1), hashes=st.booleans())
    def request_blocks(self, index: int, hashes: bool) -> None:
        """Request the only block of a chunk, which needs the root record."""
        self.learn()
        read = self.session.request_blocks(Run(index, 0, 1), hashes=hashes)
        assert read not in self.model.reads
        self.model.reads[read] = index, hashes
        said = {"type": "read", "read": read, "index": index, "first": 0, "count": 1}
        self.model.answers.append(said | ({"hashes": True} if hashes else {}))

    @precondition(lambda self: not self.is_over)
    @rule(read=st.integers(0, 8))
    def cancel_blocks(self, read: int) -> None:
        """Cancel a request for blocks, to which one answer is still owed."""
        self.session.cancel_blocks(read)
        if read in self.model.reads:
            index = self.model.reads[read][0]
            said = {"type": "cancel", "index": index, "read": read}
            self.model.answers.append(said)

    @precondition(lambda self: not self.is_over)
    @rule(number=st.integers(0, 3))
    def request_page(self, number: int) -> None:
        """Request a page."""
        self.session.request_page(PageKey("hashes", 0, number))
        self.model.owed_pages.add(number)
        self.model.answers.append(
            {"type": "page", "table": "hashes", "level": 0, "index": number}
        )

    @precondition(lambda self: not self.is_over)
    @rule(index=st.integers(0, 8))
    def cancel(self, index: int) -> None:
        """Cancel a request, whose response is still owed."""
        self.session.cancel(index)
        self.model.answers.append({"type": "cancel", "index": index})

    @precondition(lambda self: not self.is_over)
    @rule()
    def learn(self) -> None:
        """Learn the root record."""
        self.session.know_share(CHUNKS, lambda key: key.number < PAGES)
        self.model.chunks, self.model.pages = CHUNKS.count, PAGES

    @precondition(lambda self: self.is_over)
    @rule(is_greeted=MOSTLY, knows_share=st.booleans())
    def connect_again(self, is_greeted: bool, knows_share: bool) -> None:
        """Begin another conversation."""
        self.connect(is_greeted, knows_share)

    # The results.

    @precondition(lambda self: not self.is_over)
    @rule(most=MOST)
    def deliver(self, most: int) -> None:
        """Let bytes arrive, and compare the events with the model."""
        data, whole = self.stream.take(most)
        try:
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

    def _expect(self, whole: list[Said | str]) -> tuple[list[Event], bool]:
        """Return the expected events, and whether the conversation ends."""
        expected: list[Event] = []
        for said in whole:
            if said == "unknown":
                continue
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
        if not self.is_over:
            said = b"".join(self.session.data_to_send())
            assert said == b"".join(map(frame, self.model.answers))
            self.model.answers.clear()


def test_any_order_of_sealed_messages_agrees_with_the_model() -> None:
    explore(SealedConversation, 100)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_orders_of_sealed_messages_agree_with_the_model() -> None:
    for _ in range(10):  # hypothesis keeps a megabyte for each until it is done
        explore(SealedConversation, 1000, derandomize=False)
