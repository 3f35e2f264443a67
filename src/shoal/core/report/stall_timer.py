"""Decide when a download is stalled, and when to give up; pure."""

from shoal.core.report.stall import DownloadState, Stall, explain
from shoal.errors import (
    NotFoundError,
    ShoalError,
    UnfinishedError,
    VerificationError,
    told,
)

__all__ = ["MAX_CHECK_GAP", "StallTimer"]

MAX_CHECK_GAP = 2.0  # seconds between two checks that count as waiting
REPORT_AFTER = 20.0  # seconds without a new chunk until a stall is reported, each time
LIARS_TIME = 10.0  # seconds to wait for an honest peer if all found sent wrong chunks
# With origins we know the manifest, so a peer was honest and may come back.
ORIGIN_LIARS_TIME = 30.0  # seconds to wait if only origins with wrong chunks are left
SIZES_TIME = 3.0  # seconds that a named channel's servers have to send the sizes


class StallTimer:
    """Measure the time since the last verified chunk."""

    def __init__(self, timeout: float | None, now: float) -> None:
        """Give up after `timeout` seconds without a new chunk; None is never."""
        self._timeout = timeout
        self._last_chunk = now
        self._last_report = now
        self._liars_since = now  # when an honest peer was last known
        self._sizeless_since = now  # when the sizes were last known
        self._written_at = now  # when nothing was last waiting for the disk
        self._last_check = now

    def on_check(self, now: float) -> None:
        """Note that the caller waits; call it every second at least while it does.

        Longer gaps do not count as waiting: the caller did something else, as hashing,
        or the process was stopped.
        """
        gap = now - self._last_check
        self._last_check = now
        if gap > MAX_CHECK_GAP:
            self._last_chunk += gap
            self._last_report += gap
            self._liars_since += gap
            self._sizeless_since += gap
            self._written_at += gap

    def on_chunk(self, now: float) -> None:
        """Note a verified chunk."""
        self._last_chunk = self._last_report = now

    def waited(self, now: float) -> float:
        """Return the seconds since the last verified chunk."""
        return now - self._last_chunk

    def stall_to_report(self, now: float, state: DownloadState) -> Stall | None:
        """Return why no chunk arrives, if it is time to report that."""
        self._note(now, state)
        since_report = now - self._last_report
        if min(since_report, self._waited_for(now, state)) < REPORT_AFTER:
            return None
        self._last_report = now
        return explain(state, self.waited(now))

    def reason_to_end(self, now: float, state: DownloadState) -> ShoalError | None:
        """Return the error to end the download with, if it should end."""
        self._note(now, state)
        self._liars_since = self._liars_since if state.has_only_liars else now
        self._sizeless_since = self._sizeless_since if state.is_size_unknown else now
        waited = self._waited_for(now, state)
        is_late = self._timeout is not None and waited >= self._timeout
        liars_time = ORIGIN_LIARS_TIME if state.origins else LIARS_TIME
        if state.has_only_liars and (is_late or now - self._liars_since > liars_time):
            return _only_liars(state)
        if state.is_size_unknown and (
            is_late or now - self._sizeless_since > SIZES_TIME
        ):
            return ShoalError(
                "The servers found do not send the size of the file, so it cannot be "
                "downloaded whole; fetch its chunks one by one with "
                f"{told('shoal chunk', 'fetch_chunk()')}."
            )
        if not is_late:
            return None
        why = explain(state, self.waited(now)).reason
        if state.is_begun:
            return UnfinishedError.again(
                f"No new chunk for {self._timeout:g} s: {why} The verified chunks "
                "are kept",
                " to resume",
            )
        return NotFoundError(f"No data arrived within {self._timeout:g} s: {why}")

    def _note(self, now: float, state: DownloadState) -> None:
        self._written_at = self._written_at if state.unwritten else now

    def _waited_for(self, now: float, state: DownloadState) -> float:
        """Return the seconds without a new chunk, or those for which the disk is slow.

        Data that has just arrived, after a long wait for a peer, gets its time.
        """
        waited = self.waited(now)
        return min(waited, now - self._written_at) if state.unwritten else waited


def _only_liars(state: DownloadState) -> VerificationError:
    if state.origins:
        return VerificationError(
            " ".join(state.origins) + " There is no other source; name another "
            "origin, or try again when a peer shares it."
        )
    peers = "The only peer" if state.found == 1 else f"All {state.found} peers"
    return VerificationError(
        f"{peers} found sent data that does not match the id; check the id, or try "
        "again when another peer shares it."
    )
