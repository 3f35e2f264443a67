"""A server with the files of a simulated share, which speaks to no node."""

from collections.abc import Mapping

from shoal.errors import PeerError
from tests.helpers.memory_origin import Line, MemoryOrigin

__all__ = ["SimOrigin"]

RATE = 500e3  # bytes per second, for all nodes together


class SimOrigin:
    """Serve the files of one share to every node that reads them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.answers = True
        self._files = files
        self._line = Line(RATE)
        self._readers: list[MemoryOrigin] = []

    def open(self) -> MemoryOrigin:
        """Return the reader of one node."""
        reader = MemoryOrigin(self._files, self._line)
        self._readers.append(reader)
        self.set_answers(self.answers)
        return reader

    def set_answers(self, answers: bool) -> None:
        """Answer from now on, or refuse every request."""
        self.answers = answers
        for reader in self._readers:
            reader.error = None if answers else PeerError("the origin is down")

    @property
    def sent(self) -> int:
        """Return how many bytes it has sent."""
        return sum(reader.sent for reader in self._readers)
