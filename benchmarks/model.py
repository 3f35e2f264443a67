"""What a workload is made of and what running it gives."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["Column", "Ratio", "Result", "Sample", "Setup", "Side", "Workload"]

Sample: TypeAlias = Mapping[str, float]
"""The figures of one run, by the key of their column; a side may leave some out."""


@dataclass(frozen=True)
class Column:
    """One figure of the table: key of the sample, heading with unit, digits shown."""

    key: str
    heading: str
    digits: int = 2
    scale: float = 1.0
    """What the figure is multiplied with to have the unit of the heading."""


@dataclass(frozen=True)
class Ratio:
    """Compare two sides by one figure, round by round."""

    heading: str
    key: str
    over: str
    """Side whose figure is divided …"""
    under: str = ""
    """… by that of this one; by nothing if empty."""
    aim: str = ""
    """What the project aims at: `at least N` or `at most N`, then any words."""
    scale: float = 1.0
    """What it is multiplied with to have the unit of the heading."""


@dataclass(frozen=True)
class Side:
    """One of those compared."""

    name: str
    run: Callable[[], Sample]
    """Do it once, check what came of it, return the figures."""


@dataclass(frozen=True)
class Setup:
    """What a workload prepares with; all of it is undone at the end."""

    stack: ExitStack
    scratch: Path
    wanted: Sequence[str] = ()
    """Only sides whose name begins with one of these run; all if there is none."""
    missing: list[str] = field(default_factory=list)
    """Sentences on what is not measured because it is not there."""
    notes: list[str] = field(default_factory=list)
    """Sentences that belong under the table."""

    def wants(self, name: str) -> bool:
        """Say whether a side of this name was asked for."""
        return not self.wanted or name.startswith(tuple(self.wanted))

    def admits(self, name: str, missing: Callable[[], str | None]) -> bool:
        """Say whether a side is to run; note it when it is wanted and cannot."""
        if not self.wants(name):
            return False
        reason = missing()
        if reason is not None:
            self.missing.append(f"{name} ({reason}).")
        return reason is None


@dataclass(frozen=True)
class Workload:
    """Something to do, and how to do it with each side."""

    name: str
    title: str
    how: str
    """A paragraph for the reader: what exactly is measured, and what is not."""
    columns: Sequence[Column]
    ratios: Sequence[Ratio]
    prepare: Callable[[Setup], Sequence[Side]]


@dataclass(frozen=True)
class Result:
    """What was measured: for each side its samples, round by round."""

    samples: Mapping[str, Sequence[Sample]]
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
