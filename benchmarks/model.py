"""The parts of a workload, and the result of running one."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["Column", "Ratio", "Result", "Sample", "Setup", "Side", "Workload"]

Sample: TypeAlias = Mapping[str, float]
"""The figures of one run, by the key of their column; a side may omit some."""


@dataclass(frozen=True)
class Column:
    """One figure of the table: key of the sample, heading with unit, decimals."""

    key: str
    heading: str
    digits: int = 2
    scale: float = 1.0
    """Factor that converts the figure to the unit of the heading."""


@dataclass(frozen=True)
class Ratio:
    """A comparison of two sides by one figure, round by round."""

    heading: str
    key: str
    over: str
    """The side whose figure is divided …"""
    under: str = ""
    """… by the figure of this side; not divided if empty."""
    goal: str = ""
    """The goal of the project: `at least N` or `at most N`, then any words."""
    scale: float = 1.0
    """Factor that converts the ratio to the unit of the heading."""


@dataclass(frozen=True)
class Side:
    """One of the programs or cases that are compared."""

    name: str
    run: Callable[[], Sample]
    """Run the side once, verify the result and return the figures."""


@dataclass(frozen=True)
class Setup:
    """The means with which a workload prepares; all are released at the end."""

    stack: ExitStack
    scratch: Path
    wanted: Sequence[str] = ()
    """The beginnings of the names of the sides to run; all sides run if empty."""
    missing: list[str] = field(default_factory=list)
    """The sides that are not measured because a program is missing, with reasons."""
    notes: list[str] = field(default_factory=list)
    """Sentences to print below the table."""

    def wants(self, name: str) -> bool:
        """Return True if a side of this name was requested."""
        return not self.wanted or name.startswith(tuple(self.wanted))

    def admits(self, name: str, missing: Callable[[], str | None]) -> bool:
        """Return True if a side is requested and can run; note if it cannot."""
        if not self.wants(name):
            return False
        reason = missing()
        if reason is not None:
            self.missing.append(f"{name} ({reason}).")
        return reason is None


@dataclass(frozen=True)
class Workload:
    """A task, and how each side performs it."""

    name: str
    title: str
    how: str
    """A paragraph that explains exactly what is measured."""
    columns: Sequence[Column]
    ratios: Sequence[Ratio]
    prepare: Callable[[Setup], Sequence[Side]]


@dataclass(frozen=True)
class Result:
    """The samples of each side, round by round."""

    samples: Mapping[str, Sequence[Sample]]
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
