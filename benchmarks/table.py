"""Tables in Markdown, which read as well on a terminal."""

from collections.abc import Sequence
from statistics import median

from benchmarks.model import Column, Ratio, Result, Sample

__all__ = ["render"]


def render(result: Result) -> str:
    """Return the figures of each side, the ratios, and what is missing."""
    parts = [_figures(result), _ratios(result)]
    parts += [f"Missing: {each}" for each in result.missing]
    parts += result.notes
    return "\n\n".join(part for part in parts if part)


def _figures(result: Result) -> str:
    columns = result.workload.columns
    rows = [["", *(column.heading for column in columns)]]
    for name, samples in result.samples.items():
        rows.append([name, *(_cell(column, samples) for column in columns)])
    return _lay_out(rows)


def _cell(column: Column, samples: Sequence[Sample]) -> str:
    values = [each[column.key] * column.scale for each in samples if column.key in each]
    return _spread(values, column.digits)


def _ratios(result: Result) -> str:
    rows = [["ratio, pair by pair", "median (min-max)", "aim"]]
    for ratio in result.workload.ratios:
        if values := _quotients(ratio, result):
            rows.append([ratio.heading, _spread(values, 2), ratio.aim])
    return _lay_out(rows) if len(rows) > 1 else ""


def _quotients(ratio: Ratio, result: Result) -> list[float]:
    over = result.samples.get(ratio.over, ())
    under = result.samples.get(ratio.under, ())
    pairs = zip(over, under, strict=False)
    return [a[ratio.key] / b[ratio.key] for a, b in pairs if b[ratio.key]]


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def _lay_out(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
