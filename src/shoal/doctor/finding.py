"""The result of one check."""

from enum import Enum

from msgspec import Struct

__all__ = ["Finding", "State", "failed", "note", "ok"]


class State(Enum):
    """How a check ended."""

    OK = "ok"
    """It works."""
    NOTE = "note"
    """The user should know about it, but shoal works."""
    FAILED = "failed"
    """Something that shoal needs does not work."""


class Finding(Struct, frozen=True):
    """The result of one check, and advice."""

    name: str
    """The name of the check, in a word or two."""
    state: State
    """How it ended."""
    found: str
    """The result, as a sentence."""
    advice: str | None = None
    """What the result means and what to do, if there is anything to say."""


def ok(name: str, found: str, advice: str | None = None) -> Finding:
    """Return a finding that something works."""
    return Finding(name, State.OK, found, advice)


def note(name: str, found: str, advice: str) -> Finding:
    """Return a finding that the user should know about."""
    return Finding(name, State.NOTE, found, advice)


def failed(name: str, found: str, advice: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(name, State.FAILED, found, advice)
