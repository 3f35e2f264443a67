"""How much all givers together may be asked for: as much as we can take; pure.

Each giver's window follows what that giver can do. What we can do ourselves shows in
the sockets: where much waits whenever we look, the givers are ahead of us. Asking for
more then only fills memory, out of whose cache it has fallen when its turn comes, and
wakes givers on whom nothing depends. So what is asked for falls, down to what one
giver may owe, while they are ahead, and grows while they are not.
"""

from shoal.core.schedule.window import MAX_BYTES

__all__ = ["Intake"]

IN_FLIGHT_LIMIT = 64 * 1024 * 1024  # bytes asked for or waiting for their verdict
# What waits for its verdict should still be in the processor's cache by then, or
# hashing and writing it cost half as much again.
BACKLOG_LIMIT = 6 * 1024 * 1024  # bytes waiting for their verdict
BACKLOG_CHUNKS = 512  # of them at most, since a kill loses what waits
LESS = 1 / 16  # by how much less is asked for at each read that finds much
MORE = 1 / 64  # by how much more at each that does not


class Intake:
    """Keep what is asked for within what we can take."""

    def __init__(self, chunk_size: int) -> None:
        """Begin with as much as may be in flight at all."""
        self._size = chunk_size
        self._backlog = max(
            min(BACKLOG_LIMIT, BACKLOG_CHUNKS * chunk_size), 2 * chunk_size
        )
        self._least = float(max(MAX_BYTES, 2 * chunk_size))
        self._limit = float(IN_FLIGHT_LIMIT)  # bytes asked for
        self._is_silent = False  # nothing was read since the last tick

    def room(self, outstanding: int, waiting: int) -> int:
        """Return how many more chunks may be asked for now; not below 0.

        `outstanding` chunks are asked for and have not come, `waiting` is how many
        bytes have come and have no verdict.
        """
        if waiting > self._backlog:
            return 0
        asked = outstanding * self._size
        limit = min(int(self._limit), IN_FLIGHT_LIMIT - waiting)
        # One chunk may always be on its way, or nothing would ever move.
        return max((limit - asked) // self._size, 0 if asked + waiting else 1)

    def on_read(self, *, is_ahead: bool) -> None:
        """Note that bytes came, and whether whoever sent them is ahead of us."""
        self._is_silent = False
        if is_ahead:
            self._limit = max(self._limit * (1 - LESS), self._least)
        else:
            self._limit = min(self._limit * (1 + MORE), IN_FLIGHT_LIMIT)

    def on_tick(self) -> None:
        """Hold nobody back for whoever was ahead, once nothing comes any more."""
        if self._is_silent:
            self._limit = float(IN_FLIGHT_LIMIT)
        self._is_silent = True
