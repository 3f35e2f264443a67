"""The bar chart for the README, which compares shoal with other programs.

It is drawn from the recorded results. It has its own background, so it is legible on
any page, and follows the light or dark theme of the reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from benchmarks.record import Record

__all__ = ["GROUND", "STYLE", "draw"]

WIDTH = 760  # all lengths are in pixels
MARGIN = 24
LABELS = 190  # room for the names, left of the bars
VALUES = 84  # room for the figures, right of them
ROW = 24
BAR = 14
HEAD = 56  # room for a panel's title and subtitle

GROUND = (
    '<rect class="ground" x="0.5" y="0.5" width="{width}" height="{height}" rx="8"/>'
)
STYLE = """
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff; stroke: #d0d7de; }
text { fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.quiet { fill: #59636e; }
.ours { fill: #0969da; }
.curve { fill: none; stroke: #0969da; stroke-width: 2; }
.theirs { fill: #afb8c1; }
.spread, .bound { stroke: #1f2328; }
.bound { stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; stroke: #3d444d; }
  text { fill: #f0f6fc; }
  .quiet { fill: #9198a1; }
  .ours { fill: #4493f8; }
  .curve { stroke: #4493f8; }
  .theirs { fill: #545d68; }
  .spread, .bound { stroke: #f0f6fc; }
}
"""


@dataclass(frozen=True)
class Panel:
    """One set of bars: a figure of a workload."""

    workload: str
    key: str
    title: str
    subtitle: str
    digits: int = 0
    scale: float = 1.0
    is_less_better: bool = False
    bound: float | None = None
    """Value of the dashed line that marks the best possible result."""


PANELS = (
    Panel(
        "one-to-one",
        "rate",
        "One source to one client, 1 GiB",
        "MB/s, longer is better; encrypted: shoal, HTTPS and magic-wormhole",
        scale=1e-6,
    ),
    Panel(
        "crowd",
        "over",
        "One source to 8 at once, 24 MiB at 40 Mbit/s each",
        "time of the last to finish, as a multiple of the least possible (dashed)",
        digits=2,
        is_less_better=True,
        bound=1.0,
    ),
    Panel(
        "crowd-16",
        "over",
        "One source to 16 at once, 96 MiB at 40 Mbit/s each",
        "time of the last to finish, as a multiple of the least possible (dashed)",
        digits=2,
        is_less_better=True,
        bound=1.0,
    ),
)


@dataclass(frozen=True)
class Bar:
    """One side's figure: median and range."""

    name: str
    low: float
    middle: float
    high: float


def draw(records: Mapping[str, Record]) -> str | None:
    """Return the picture as SVG; None if no panel has been measured yet."""
    top, parts = MARGIN, []
    for panel in PANELS:
        bars = _bars(panel, records)
        if bars:
            parts.append(_panel(panel, bars, top))
            top += HEAD + ROW * len(bars) + MARGIN
    if not parts:
        return None
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(_say(records))}</title>",
            f"<style>{STYLE}</style>",
            GROUND.format(width=WIDTH - 1, height=top - 1),
            *parts,
            "</svg>\n",
        ]
    )


def _say(records: Mapping[str, Record]) -> str:
    """Return a description of the picture for screen readers."""
    said = []
    for panel in PANELS:
        bars = _bars(panel, records)
        if bars:
            figures = ", ".join(
                f"{bar.name} {bar.middle:,.{panel.digits}f}" for bar in bars
            )
            said.append(f"{panel.title} ({panel.subtitle}): {figures}.")
    return " ".join(said)


def _bars(panel: Panel, records: Mapping[str, Record]) -> list[Bar]:
    """Return the sides that have the figure, the best first."""
    if panel.workload not in records:
        return []
    bars = []
    for name, samples in records[panel.workload].result.samples.items():
        values = [
            each[panel.key] * panel.scale for each in samples if panel.key in each
        ]
        if values:
            bars.append(Bar(name, min(values), median(values), max(values)))
    return sorted(bars, key=lambda b: b.middle, reverse=not panel.is_less_better)


def _panel(panel: Panel, bars: Sequence[Bar], top: int) -> str:
    begin = MARGIN + LABELS
    room = WIDTH - begin - VALUES - MARGIN
    step = room / max(bar.high for bar in bars)
    lines = [
        f'<text class="title" x="{MARGIN}" y="{top + 14}">{escape(panel.title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="{top + 34}">{escape(panel.subtitle)}'
        "</text>",
    ]
    for number, bar in enumerate(bars):
        lines += _bar(bar, top + HEAD + ROW * number, begin, step, panel.digits)
    if panel.bound is not None:
        x = begin + panel.bound * step
        end = top + HEAD + ROW * len(bars) - (ROW - BAR)
        lines.append(
            f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 6}" '
            f'y2="{end + 6}"/>'
        )
    return "\n".join(lines)


def _bar(bar: Bar, y: int, begin: int, step: float, digits: int) -> list[str]:
    kind = "ours" if bar.name.startswith("shoal") else "theirs"
    middle, base = y + BAR / 2, y + BAR - 2
    low, high = (begin + value * step for value in (bar.low, bar.high))
    figure = f"{bar.middle:,.{digits}f}"
    return [
        f'<text text-anchor="end" x="{begin - 10}" y="{base}">{escape(bar.name)}'
        "</text>",
        f'<rect class="{kind}" x="{begin}" y="{y}" width="{bar.middle * step:.1f}" '
        f'height="{BAR}" rx="2"/>',
        f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" '
        f'y2="{middle}"/>',
        f'<text x="{high + 8:.1f}" y="{base}">{figure}</text>',
    ]
