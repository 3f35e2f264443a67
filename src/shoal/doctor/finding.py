"""What one look has shown."""

from enum import Enum

from msgspec import Struct

__all__ = ["Finding", "State", "failed", "note", "ok"]


class State(Enum):
    """Say how it is."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing; shoal works all the same."""
    FAILED = "failed"
    """Something that is needed does not work."""


class Finding(Struct, frozen=True):
    """Say what was looked at and what that means."""

    name: str
    """What was looked at, in a word."""
    state: State
    """How it is."""
    found: str
    """What was tried and what came of it, as a sentence."""
    advice: str | None = None
    """What it means and what to do, if there is something to say."""


def ok(name: str, found: str, advice: str | None = None) -> Finding:
    """Return that something is as it should be."""
    return Finding(name, State.OK, found, advice)


def note(name: str, found: str, advice: str) -> Finding:
    """Return something that is worth knowing."""
    return Finding(name, State.NOTE, found, advice)


def failed(name: str, found: str, advice: str) -> Finding:
    """Return that something needed does not work."""
    return Finding(name, State.FAILED, found, advice)
