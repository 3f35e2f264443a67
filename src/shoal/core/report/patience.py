"""When a download says that it is stalled, and when it gives up.

Pure: it is told the time and what is known, and answers with what to do.
"""

from shoal.core.report.outlook import Outlook, Stall, explain
from shoal.errors import (
    NotFoundError,
    ShoalError,
    UnfinishedError,
    VerificationError,
)

__all__ = ["Patience"]

TELL_AFTER = 20.0  # seconds without a new chunk until that is told, each time
LIARS_TIME = 10.0  # seconds to wait for an honest peer when all found were liars
# A peer that told what there is has gone, and may come back: then for longer.
ORIGIN_LIARS_TIME = 30.0  # seconds to wait when all that is left are origins that lied
SIZES_TIME = 3.0  # seconds a named channel's servers have to say their sizes


class Patience:
    """Watch the time since the last verified chunk."""

    def __init__(self, timeout: float | None, now: float) -> None:
        """Wait `timeout` seconds at most for each new chunk; None is for ever."""
        self._timeout = timeout
        self._last_news = now
        self._last_told = now
        self._liars_since = now  # when an honest peer was last in sight
        self._sizeless_since = now  # when the sizes were last in sight

    def on_news(self, now: float) -> None:
        """Note a verified chunk."""
        self._last_news = self._last_told = now

    def waited(self, now: float) -> float:
        """Return the seconds since the last verified chunk."""
        return now - self._last_news

    def stall_to_tell(self, now: float, outlook: Outlook) -> Stall | None:
        """Return why nothing comes, when it is time to say so."""
        if now - self._last_told < TELL_AFTER:
            return None
        self._last_told = now
        return explain(outlook, self.waited(now))

    def reason_to_end(self, now: float, outlook: Outlook) -> ShoalError | None:
        """Return the error to end with, when waiting longer is of no use."""
        self._liars_since = self._liars_since if outlook.has_only_liars else now
        self._sizeless_since = self._sizeless_since if outlook.lacks_sizes else now
        is_late = self._timeout is not None and self.waited(now) >= self._timeout
        patience = ORIGIN_LIARS_TIME if outlook.origins else LIARS_TIME
        if outlook.has_only_liars and (is_late or now - self._liars_since > patience):
            return _only_liars(outlook)
        if outlook.lacks_sizes and (is_late or now - self._sizeless_since > SIZES_TIME):
            return ShoalError(
                "The servers found do not say how large the file is, as servers of "
                "the workshop's kind never do; fetch its chunks one by one with "
                "shoal chunk."
            )
        if not is_late:
            return None
        why = explain(outlook, self.waited(now)).reason
        if outlook.is_begun:
            return UnfinishedError(
                f"No new chunk for {self._timeout:g} s: {why} What was "
                "verified is kept; run the same command again to go on."
            )
        return NotFoundError(f"Nobody gave a chunk within {self._timeout:g} s: {why}")


def _only_liars(outlook: Outlook) -> VerificationError:
    if outlook.origins:
        return VerificationError(
            " ".join(outlook.origins) + " Nobody else can be asked; name another "
            "origin, or try again when others share it."
        )
    return VerificationError(
        f"All of the {outlook.found} found sent what the id does not name; "
        "check the id, or try again when others share it."
    )
