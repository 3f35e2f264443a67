"""How a download stands, and why nothing comes when nothing does.

Pure: whoever downloads says what it knows, and gets the cause in a word for programs
and in a sentence for people.
"""

from enum import Enum

from msgspec import Struct

__all__ = ["Cause", "Lack", "Outlook", "Search", "Stall", "explain"]


class Cause(Enum):
    """Name what keeps a download from going on."""

    NOBODY_FOUND = "nobody-found"
    """No address of anybody who has it is known."""
    UNREACHABLE = "unreachable"
    """Addresses are known, and nobody can be talked to."""
    SILENT = "silent"
    """Peers are connected and do not answer."""
    NOBODY_HAS = "nobody-has"
    """Peers are connected, and none of them has what is missing."""
    DISK = "disk"
    """Chunks have come and are not written yet."""


class Lack(Struct, frozen=True):
    """Say what no connected peer has."""

    index: int
    """One such chunk."""
    count: int
    """How many there are."""


class Search(Struct, frozen=True):
    """Say how looking for peers goes."""

    looked: tuple[str, ...] = ()
    """Where they are looked for, as `the LAN (eth0)`."""
    problems: tuple[str, ...] = ()
    """What does not work, in sentences."""


class Outlook(Struct, frozen=True):
    """Say how a download stands."""

    found: int
    """Addresses that discovery reported."""
    ready: int
    """Peers that can be asked."""
    has_only_liars: bool
    """Whether every address found sent what does not verify."""
    lacks_sizes: bool
    """Whether peers are ready and none of them says how large the file is."""
    is_begun: bool
    """Whether any chunk is there, be it from an earlier run."""
    search: Search = Search()
    """How looking for peers goes."""
    lack: Lack | None = None
    """What is missing and no peer has, if that is all there is to ask for."""
    unwritten: int = 0
    """Bytes that came and are not verified and written."""
    origins: tuple[str, ...] = ()
    """Why origins give nothing, in sentences."""


class Stall(Struct, frozen=True):
    """Say why nothing comes."""

    cause: Cause
    """For a program."""
    reason: str
    """For a person, as a sentence that may follow a colon."""


def explain(outlook: Outlook, waited: float) -> Stall:
    """Say why nothing came for `waited` seconds, of peers and of origins."""
    stall = _explain_peers(outlook, waited)
    return Stall(stall.cause, " ".join((stall.reason, *outlook.origins)))


def _explain_peers(outlook: Outlook, waited: float) -> Stall:
    if outlook.unwritten:
        size = f"{outlook.unwritten / (1 << 20):.1f} MiB"
        reason = f"the disk is slow: {size} wait to be written."
        return Stall(Cause.DISK, reason)
    if not outlook.found:
        return Stall(Cause.NOBODY_FOUND, _explain_nobody(outlook))
    if not outlook.ready:
        reason = (
            f"{outlook.found} found, and none can be talked to; check that they still "
            "share it, and the firewalls between."
        )
        return Stall(Cause.UNREACHABLE, reason)
    if outlook.lack is not None:
        return Stall(Cause.NOBODY_HAS, _explain_lack(outlook.ready, outlook.lack))
    reason = f"0 of {_peers(outlook.ready)} answered for {waited:.0f} s."
    return Stall(Cause.SILENT, reason)


def _explain_nobody(outlook: Outlook) -> str:
    looked = outlook.search.looked
    where = f" on {' or '.join(looked)}" if looked else ""
    hint = " ".join(outlook.search.problems)
    return (
        f"nobody who has it was found{where} yet; check the id and that someone "
        f"shares it, or name one with --peer HOST:PORT. {hint}"
    ).strip()


def _explain_lack(ready: int, lack: Lack) -> str:
    none = {1: "and it has not", 2: "neither has"}.get(ready, "none has")
    more = f" and {lack.count - 1} more" if lack.count > 1 else ""
    return f"{_peers(ready)}, {none} chunk {lack.index}{more}; waiting for who does."


def _peers(number: int) -> str:
    return f"{number} peer" if number == 1 else f"{number} peers"
