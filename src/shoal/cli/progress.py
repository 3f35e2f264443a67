"""Show the events of a download or share: in its bar, as messages or as JSON lines."""

import math
import time
from typing import Self

from shoal.cli.output import Bar, Output
from shoal.core.report.events import (
    Hashing,
    Notice,
    PeerJoined,
    PeerLeft,
    Progress,
    ShareEvent,
    Stalled,
    Started,
)
from shoal.core.report.units import format_size

__all__ = ["Reporter"]

JSON_PERIOD = 1.0  # seconds between JSON lines of progress


class Reporter:
    """Show the events of a download or share as messages, a bar or JSON lines."""

    def __init__(self, output: Output, title: str, bar: Bar) -> None:
        """Take over `bar`, and close it when the `with` block ends."""
        self._output = output
        self._title = title
        self._bar = bar
        self._since = time.monotonic()
        self._last_json = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_event(self, event: ShareEvent) -> None:
        """Show one event."""
        match event:
            case Hashing(done=done, size=size):
                self._bar.update(done, size, "hashed")
                # Hashing that ends soon gets no JSON line.
                is_long = time.monotonic() - self._since >= JSON_PERIOD
                if is_long and self._is_time(is_end=False):
                    self._output.event("progress", hashed=done, size=size)
            case Progress():
                self._on_progress(event)
            case Started():
                self._on_started(event)
            case PeerJoined(address=address, source=source):
                self._output.event(
                    "peer", address=str(address), source=source, state="joined"
                )
                if self._output.is_verbose:
                    self._output.say(f"Connected to {address} ({source}).")
            case PeerLeft():
                self._on_peer_left(event)
            case Stalled(seconds=seconds, reason=reason, cause=cause):
                self._output.event(
                    "stalled", seconds=round(seconds), cause=cause, reason=reason
                )
                self._output.say(f"No new chunk for {seconds:.0f} s: {reason}")
            case Notice(text=text):
                self._output.problem(text)

    def _on_started(self, event: Started) -> None:
        self._output.event(
            "start",
            size=event.size,
            chunk_size=event.chunk_size,
            chunks=event.chunks,
            resumed=event.resumed,
            verified=event.is_verified,
        )
        if event.resumed:
            here = format_size(min(event.resumed * event.chunk_size, event.size))
            total = format_size(event.size)
            self._output.say(f"Resuming: {here} of {total} already here.")

    def _on_progress(self, event: Progress) -> None:
        note = f"{format_size(event.rate)}/s from {event.peers}"
        self._bar.update(event.done, event.size, note)
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

    def _on_peer_left(self, event: PeerLeft) -> None:
        self._output.event(
            "peer",
            address=str(event.address),
            state="banned" if event.is_banned else "left",
            reason=event.reason,
            chunks=event.chunks,
        )
        if event.is_banned:
            self._output.problem(f"Banned {event.address}: {event.reason}.")
        elif self._output.is_verbose:
            reason = f": {event.reason}" if event.reason else ""
            self._output.say(f"Disconnected from {event.address}{reason}.")
