"""Explain why a download is stalled; pure."""

from enum import Enum

from msgspec import Struct

from shoal.errors import NO_DESCRIPTORS, option

__all__ = ["Cause", "DownloadState", "Search", "Stall", "Unavailable", "explain"]


class Cause(Enum):
    """Name what stalls a download."""

    NOBODY_FOUND = "nobody-found"
    """No address of a peer is known."""
    UNREACHABLE = "unreachable"
    """Addresses are known, but no peer is connected."""
    SILENT = "silent"
    """Peers are connected and do not answer."""
    NOBODY_HAS = "nobody-has"
    """Peers are connected, and none of them has the missing chunks."""
    DISK = "disk"
    """Chunks have arrived and are not written yet."""


class Unavailable(Struct, frozen=True):
    """Describe missing chunks that no connected peer has."""

    index: int
    """One such chunk."""
    count: int
    """How many there are."""
    is_gone: bool = False
    """Whether a peer announced it and then refused it: its file has changed."""


class Search(Struct, frozen=True):
    """Describe the search for peers."""

    looked: tuple[str, ...] = ()
    """Where it looks, as `the LAN (eth0)`."""
    problems: tuple[str, ...] = ()
    """What does not work, in sentences."""
    relays: tuple[str, ...] = ()
    """The relays at which peers are waited for, as `HOST:PORT`."""


class DownloadState(Struct, frozen=True):
    """Describe a download, to find out why no chunk arrives."""

    found: int
    """Addresses that discovery has reported."""
    ready: int
    """Peers that may get requests."""
    has_only_liars: bool
    """Whether every address found has sent wrong data."""
    is_size_unknown: bool = False
    """Whether a peer sends chunks, and none has sent the file's size."""
    is_begun: bool = False
    """Whether any chunk is stored, from this run or an earlier one."""
    search: Search = Search()
    """The search for peers."""
    unavailable: Unavailable | None = None
    """The missing chunks that no peer has, if no others are left to request."""
    unwritten: int = 0
    """Bytes that have arrived and are not verified and written."""
    is_out_of_files: bool = False
    """Whether the last dial failed because no file descriptor was left."""
    origins: tuple[str, ...] = ()
    """Why origins send nothing, in sentences."""


class Stall(Struct, frozen=True):
    """Explain why no chunk arrives."""

    cause: Cause
    """For a program."""
    reason: str
    """For a person: a sentence that can follow a colon."""


def explain(state: DownloadState, waited: float) -> Stall:
    """Return why no chunk has arrived for `waited` seconds."""
    stall = _explain_peers(state, waited)
    return Stall(stall.cause, " ".join((stall.reason, *state.origins)))


def _explain_peers(state: DownloadState, waited: float) -> Stall:
    if state.unwritten:
        size = f"{state.unwritten / (1 << 20):.1f} MiB"
        return Stall(Cause.DISK, f"the disk is slow: {size} are waiting to be written.")
    if not state.found:
        return Stall(Cause.NOBODY_FOUND, _explain_none_found(state))
    if not state.ready and state.is_out_of_files:
        # The dials failed here, so nothing is known about the peers.
        return Stall(Cause.UNREACHABLE, NO_DESCRIPTORS[0].lower() + NO_DESCRIPTORS[1:])
    if not state.ready:
        is_one = state.found == 1
        reason = (
            f"found {state.found} {'peer' if is_one else 'peers'} but could not "
            f"connect to {'it' if is_one else 'any of them'}; check that the share is "
            "still served there, and the firewalls in between"
        )
        if state.search.relays:
            reason += f". {_explain_relays(state.search.relays)}"
        else:
            relay = option("--relay", "HOST:PORT")
            reason += f", or name a relay on both sides with {relay}."
        return Stall(Cause.UNREACHABLE, reason)
    if (chunks := state.unavailable) is not None:
        return Stall(Cause.NOBODY_HAS, _explain_unavailable(state.ready, chunks))
    silent = _connected(state.ready, "the connected peer has not", "none of {} has")
    return Stall(Cause.SILENT, f"{silent} answered for {waited:.0f} s.")


def _explain_none_found(state: DownloadState) -> str:
    looked, relays = state.search.looked, state.search.relays
    where = f" on {' or '.join(looked)}" if looked else ""
    hints = [_explain_relays(relays)] if relays else []
    hint = " ".join((*hints, *state.search.problems))
    return (
        f"found no peer{where} yet; check the id and that the share is being served, "
        f"or name a peer with {option('--peer', 'HOST:PORT')}. {hint}"
    ).strip()


def _explain_relays(relays: tuple[str, ...]) -> str:
    return (
        f"No peer came to the relay {' or '.join(relays)}, either; the side that "
        "shares has to name the same one."
    )


def _explain_unavailable(ready: int, chunks: Unavailable) -> str:
    one, hint = "does not have", "waiting for a peer that does."
    if chunks.is_gone:
        one = "no longer has"
        hint = (
            "a shared file was changed or removed there. Share it again there, or wait "
            "for a peer that has a copy."
        )
    none = _connected(ready, f"the connected peer {one}", "none of {} has")
    more = f" and {chunks.count - 1} more" if chunks.count > 1 else ""
    return f"{none} chunk {chunks.index}{more}; {hint}"


def _connected(ready: int, one: str, several: str) -> str:
    """Return `one`, or `several` with the number of connected peers in it."""
    return one if ready == 1 else several.format(f"the {ready} connected peers")
