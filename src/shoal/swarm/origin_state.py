"""What a swarm knows of one origin: whether it is used, why not, and when it may be."""

from shoal.origin.source import Origin

__all__ = ["OriginState"]


class OriginState:
    """Hold what is known of one origin; `Origins` changes it.

    Times are those of the event loop's clock, in seconds.
    """

    def __init__(self, origin: Origin, not_before: float) -> None:
        """Begin with an origin that is not used yet, and not before a time."""
        self.origin = origin
        """Sends the requests."""
        self.is_used = False
        """Whether chunks are requested from it."""
        self.is_liar = False
        """Whether it is not used because of wrong chunks."""
        self.not_before = not_before
        """When it may be used."""
        self.asked_at = 0.0
        """When the last request began."""
        self.failures = 0
        """Failed requests since a chunk from it last verified."""
        self.problem: str | None = None
        """Why it is not used, as a sentence."""

        self.missing_files = 0
        """Files that it did not have, in a row."""
        self.retry_files_at: float | None = None
        """When these may exist."""
        self.wrong = 0
        """Chunks that did not verify."""
        self.refused: set[int] = set()
        """The chunks of the files that these are in."""
        self.refused_until = 0.0
        """Until when those are not requested."""
        self.file_problem: str | None = None
        """Why it is not asked for some files, as a sentence."""

        self.stream_began = 0.0
        """When a whole file began to arrive; as all below, of the last such file."""
        self.streamed = 0
        """Bytes that have arrived."""
        self.position = 0
        """The chunk that came last."""
        self.announced = 0
        """The last chunk that peers were told of before it came."""

    @property
    def why_nothing(self) -> str | None:
        """Return why it sends nothing, as a sentence, where that is known."""
        problem = self.problem or self.file_problem
        if problem is None and self.origin.outstanding:
            name = self.origin.reader.name
            return f"The origin {name} was asked and does not answer."
        return problem
