"""Render results as Markdown tables that are also legible on a terminal."""

import re
from collections.abc import Sequence
from statistics import median

from benchmarks.model import Column, Ratio, Result, Sample, Workload

__all__ = ["lay_out", "render"]

TOLERANCE = 0.05
"""Relative distance within which a goal counts as reached despite noise."""
_GOAL = re.compile(r"at (least|most) ([\d.]+)")


def render(workload: Workload, result: Result) -> str:
    """Return the figures of each side, the ratios and the missing programs."""
    parts = [_figures(workload, result), _ratios(workload, result)]
    parts += [f"Missing: {each}" for each in result.missing]
    parts += result.notes
    return "\n\n".join(part for part in parts if part)


def _figures(workload: Workload, result: Result) -> str:
    columns = workload.columns
    rows = [["", *(column.heading for column in columns)]]
    for name, samples in result.samples.items():
        rows.append([name, *(_cell(column, samples) for column in columns)])
    return lay_out(rows)


def _cell(column: Column, samples: Sequence[Sample]) -> str:
    values = [each[column.key] * column.scale for each in samples if column.key in each]
    return _spread(values, column.digits)


def _ratios(workload: Workload, result: Result) -> str:
    rows = [["compared, round by round", "median (min-max)", "goal", "reached"]]
    for ratio in workload.ratios:
        if values := _quotients(ratio, result):
            verdict = judge(ratio.goal, median(values))
            rows.append([ratio.heading, _spread(values, 2), ratio.goal, verdict])
    return lay_out(rows) if len(rows) > 1 else ""


def _quotients(ratio: Ratio, result: Result) -> list[float]:
    key, scale = ratio.key, ratio.scale
    over = [each for each in result.samples.get(ratio.over, ()) if key in each]
    if not ratio.under:
        return [each[key] * scale for each in over]
    under = [each for each in result.samples.get(ratio.under, ()) if key in each]
    pairs = zip(over, under, strict=False)
    return [a[key] / b[key] * scale for a, b in pairs if b[key]]


def judge(goal: str, value: float) -> str:
    """Return whether a figure reaches its goal, as text; empty without a number."""
    found = _GOAL.match(goal)
    if found is None:
        return ""
    wanted = float(found[2])
    short = (wanted - value) / wanted * (1 if found[1] == "least" else -1)
    if short <= 0:
        return "yes"
    return f"within {TOLERANCE * 100:.0f} %" if short <= TOLERANCE else "no"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def lay_out(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
