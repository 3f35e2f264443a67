"""Show the events of a download or share: in the live line, as messages, as JSON."""

import math
import time
from typing import Self

from shoal.cli.output import Output
from shoal.cli.status import Fact, Status
from shoal.core.limits import MAX_GUESSES
from shoal.core.report.events import (
    CodeChanged,
    Hashing,
    Notice,
    PeerComplete,
    PeerJoined,
    PeerLeft,
    Preparing,
    Progress,
    ShareEvent,
    Stalled,
    Started,
)
from shoal.core.report.units import format_count, format_size, format_time

__all__ = ["Reporter"]

JSON_PERIOD = 1.0  # seconds between JSON lines of progress
_STEPS = {
    "searching": "looking for peers",
    "asking": "asking a peer what the share is",
    "listing": "reading the list of files",
    "checking": "checking what is on the disk",
}
_ANOTHER = "The link still works; for another code, share again with --code."
_CODE_TEXTS = {
    "wrong": "A wrong code was entered; after {wrong}, this code ends.",
    "dead": f"The code has ended: it was entered wrongly {MAX_GUESSES} times. "
    + _ANOTHER,
    "given": "A receiver has used the code; {receivers} can still use it.",
    "used": "The code was used, and has ended.",
    "expired": f"The time of the code is over. {_ANOTHER}",
}


class Reporter:
    """Show the events of a download or share as messages, a live line or JSON lines."""

    def __init__(self, output: Output, title: str = "") -> None:
        """Begin; `title` stands for the share until a peer has sent its name."""
        self._output = output
        self._title = title
        self._since = time.monotonic()
        self._last_json = -math.inf
        self._started: Started | None = None
        self._progress: Progress | None = None
        self._is_serving = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the line; from now on the share is served, if at all."""
        self._output.line.clear()
        self._is_serving = True

    def on_event(self, event: ShareEvent) -> None:
        """Show one event."""
        match event:
            case Hashing():
                self._on_hashing(event)
            case Preparing():
                self._on_preparing(event)
            case Progress():
                self._on_progress(event)
            case Started():
                self._on_started(event)
            case PeerJoined() | PeerComplete() | PeerLeft():
                self._on_peer(event)
            case Stalled(seconds=seconds, reason=reason, cause=cause):
                self._output.event(
                    "stalled", seconds=round(seconds), cause=cause, reason=reason
                )
                self._output.say(f"No new chunk for {seconds:.0f} s: {reason}")
            case CodeChanged():
                self._on_code(event)
            case Notice(text=text):
                self._output.problem(text)

    def on_hashed(self, done: int, size: int) -> None:
        """Show how many bytes of an open channel are hashed."""
        self.on_event(Hashing(done, size))

    def say_result(self) -> None:
        """Say in one line what was downloaded, how fast and from how many peers."""
        started, last = self._started, self._progress
        if started is None:
            return
        size = format_size(started.size)
        verified = "verified" if started.is_verified else "not verified"
        received = started.size - started.done
        if last is None or not last.sources or received <= 0:
            text = f"{size}, already here, {verified}"
        else:
            seconds = max(time.monotonic() - self._since, 0.001)
            rate = format_size(received / seconds)
            text = f"{size} in {seconds:.1f} s ({rate}/s) from "
            text += f"{format_count(last.sources, 'peer')}, {verified}"
            if started.done:
                text += f"; {format_size(started.done)} were here already"
        self._output.say(f"{self._title}: {text}")

    def _on_hashing(self, event: Hashing) -> None:
        elapsed = time.monotonic() - self._since
        rate = event.done / elapsed if elapsed > 0 else 0.0
        fraction = _fraction(event.done, event.size) if event.size else None
        facts = [Fact(1, f"{format_size(event.done)} read")]
        if fraction is not None:
            facts = [
                Fact(1, f"{math.floor(100 * fraction)} % hashed"),
                Fact(4, f"{format_size(event.done)} of {format_size(event.size)}"),
            ]
        facts += [
            Fact(2, f"{format_size(rate)}/s"),
            *_time_left(event.size - event.done, rate),
        ]
        self._output.line.show(Status(self._title, tuple(facts), fraction))
        # Hashing that ends soon gets no JSON line.
        if elapsed >= JSON_PERIOD and self._is_time(is_end=False):
            self._output.event("progress", hashed=event.done, size=event.size)

    def _on_preparing(self, event: Preparing) -> None:
        if event.name is not None:
            self._title = event.name
        if event.step == "connecting":
            facts = [Fact(1, f"connecting to {format_count(event.found, 'peer')}")]
        else:
            facts = [Fact(1, _STEPS[event.step])]
        if event.looked:
            facts.append(Fact(2, f"on {' and '.join(event.looked)}"))
        self._output.line.show(Status(self._title, tuple(facts)))

    def _on_code(self, event: CodeChanged) -> None:
        self._output.event(
            "code",
            state=event.state,
            guesses_left=event.guesses_left,
            receivers_left=event.receivers_left,
        )
        text = _CODE_TEXTS[event.state].format(
            wrong=format_count(event.guesses_left, "more wrong code"),
            receivers=format_count(event.receivers_left, "more receiver"),
        )
        if event.state in ("given", "used"):
            self._output.say(text)
        else:
            self._output.warn(text)

    def _on_started(self, event: Started) -> None:
        self._started = event
        self._since = time.monotonic()
        if event.name is not None:
            self._title = event.name
        self._output.event(
            "start",
            size=event.size,
            chunk_size=event.chunk_size,
            chunks=event.chunks,
            resumed=event.resumed,
            verified=event.is_verified,
        )
        if 0 < event.done < event.size:
            here, total = format_size(event.done), format_size(event.size)
            self._output.say(f"Resuming: {here} of {total} already here.")

    def _on_progress(self, event: Progress) -> None:
        self._progress = event
        fraction = _fraction(event.done, event.size)
        facts = (
            Fact(1, f"{math.floor(100 * fraction)} %"),
            Fact(5, f"{format_size(event.done)} of {format_size(event.size)}"),
            Fact(2, f"{format_size(event.rate)}/s"),
            *_time_left(event.size - event.done, event.rate),
            Fact(4, format_count(event.peers, "peer")),
        )
        self._output.line.show(Status(self._title, facts, fraction))
        if self._is_time(is_end=event.done == event.size):
            self._output.event(
                "progress",
                done=event.done,
                size=event.size,
                rate=round(event.rate),
                peers=event.peers,
                uploaded=event.uploaded,
            )

    def _is_time(self, *, is_end: bool) -> bool:
        """Return True if a JSON line of progress is due; the last one always is."""
        now = time.monotonic()
        if not is_end and now - self._last_json < JSON_PERIOD:
            return False
        self._last_json = now
        return True

    def _on_peer(self, event: PeerJoined | PeerComplete | PeerLeft) -> None:
        address = str(event.address)
        match event:
            case PeerJoined(source=source, path=path):
                self._output.event(
                    "peer", address=address, source=source, path=path, state="joined"
                )
                if self._output.is_verbose:
                    how = source if source == path else f"{source}, {path}"
                    self._output.say(f"Connected to {address} ({how}).")
            case PeerComplete(number=number, has=has, uploaded=uploaded):
                self._output.event(
                    "peer",
                    address=address,
                    state="complete",
                    has=has,
                    uploaded=uploaded,
                )
                if self._is_serving:
                    more = f" {number:,} peers have it now." if number > 1 else ""
                    of_many = self._output.is_of_one
                    what = f"all of {self._title}" if of_many else "everything"
                    self._output.say(f"{address} has {what}.{more}")
            case PeerLeft():
                self._on_peer_left(event)

    def _on_peer_left(self, event: PeerLeft) -> None:
        self._output.event(
            "peer",
            address=str(event.address),
            state="banned" if event.is_banned else "left",
            reason=event.reason,
            chunks=event.chunks,
            has=event.has,
            uploaded=event.uploaded,
        )
        if event.is_banned:
            self._output.problem(f"Banned {event.address}: {event.reason}.")
        elif self._output.is_verbose:
            reason = f": {event.reason}" if event.reason else ""
            self._output.say(f"Disconnected from {event.address}{reason}.")


def _fraction(done: int, size: int) -> float:
    return done / size if size else 1.0


def _time_left(size: int, rate: float) -> list[Fact]:
    """Return how long the rest takes at this rate, if that can be told."""
    can_be_told = rate > 0 and size > 0
    return [Fact(3, f"{format_time(size / rate)} left")] if can_be_told else []
