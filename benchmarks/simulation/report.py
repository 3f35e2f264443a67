"""docs/simulation.json: the recorded simulations, with their tables and picture."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from benchmarks.plot import GROUND, STYLE
from benchmarks.simulation.outcome import Outcome
from benchmarks.simulation.picks import Picks
from benchmarks.simulation.scenario import MIXED, Scenario

__all__ = ["add", "add_picks", "draw", "say"]

INTRO = """# Simulation of large swarms

`scripts/bench simulate --write` makes this page, with one command for each line. The
code that decides is the code of shoal itself: the picker, the windows, which chunk to
request from which peer, what to announce to which peer, which peer is served next and
how many at the same time, which chunk is rarest, and which address to dial. Only the
clock and the network are simulated. The connections that send share an uplink equally,
downlinks are not limited, and everything except chunks arrives after 20 ms. One source
has 1 GiB in chunks of 1 MiB. All downloaders start within one second and have at most
40 neighbours each. Equal uplinks have 100 Mbit/s. Mixed uplinks have 20, 50, 100 and
500 Mbit/s, and that of the source has their mean. Leavers leave when they have half of
the chunks. Liars claim to have every chunk and send garbage; they are not counted as
downloaders.

Lines whose commands are dated before 2026-11-30 were recorded when all peers were
served and told in order, and as many at the same time as requested something.

The bound is that of a fluid model, max(F/u, N·F/(u + Σu)), for the downloaders that
stay. "twice" is what arrived although it was already stored, "wrong" what did not
verify, both as a share of what verified. "control" is every byte other than chunks,
including what encryption adds to it: connections, greetings, addresses,
announcements, requests, headers. What encryption and TCP add to the data of chunks is
not counted. The same
command always has the same result, except for the processor time. A small swarm that
talks through real sessions (`--sessions`) tests that messages mean the same after they
were encoded. 10,000 downloaders take one core for a quarter of an hour or more, and 3
GiB of memory; `--compiled` needs a C compiler.
"""
HEAD = (
    "| downloaders | uplinks | leave | lie | bound s | last s | last / bound "
    "| source sent | twice | wrong | control, bytes a chunk | control | processor s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)
PICKS = """## What a pick costs

Measured, not simulated: whole downloads with this many chunks, in memory, from one peer
that has every chunk and seven peers that have three tenths each. A pick is requested,
arrives and is verified. The increase is the time to access memory that no longer fits
into any cache.

"""
WIDTH, HEIGHT = 1080, 300  # pixels of the picture
LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT, STEP = 70, 56, 240, 180, 345


def say(outcome: Outcome) -> str:
    """Return the figures as lines for the terminal."""
    return (
        f"last {outcome.over:.3f} of the bound of {outcome.bound:.1f} s\n"
        f"source {outcome.copies:.3f} copies\n"
        f"twice {outcome.twice:.3%}, wrong {outcome.wrong:.3%}\n"
        f"control {outcome.control:.0f} bytes a chunk, {outcome.control_share:.3%}\n"
        f"{outcome.processor:.0f} s of processor"
    )


def add(
    folder: Path, scenario: Scenario, outcome: Outcome, command: str, where: str
) -> None:
    """Record a simulation and redraw tables and picture."""
    records = _load(folder)
    records["crowds"][command] = {
        "scenario": to_builtins(scenario),
        "outcome": to_builtins(outcome),
        "where": where,
    }
    _save(folder, records)


def add_picks(folder: Path, found: Sequence[Picks], where: str) -> None:
    """Record the cost of picks and redraw tables and picture."""
    records = _load(folder)
    records["picks"] = {"found": to_builtins(found), "where": where}
    _save(folder, records)


def _load(folder: Path) -> dict[str, Any]:
    path = folder / "simulation.json"
    if not path.exists():
        return {"crowds": {}, "picks": None}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _save(folder: Path, records: dict[str, Any]) -> None:
    text = json.dumps(records, indent=1, ensure_ascii=False)
    (folder / "simulation.json").write_text(text + "\n", encoding="utf-8")
    draw(folder)


def draw(folder: Path) -> None:
    """Draw the tables and the picture from the records."""
    records = _load(folder)
    crowds = sorted(
        (
            (Scenario(**each["scenario"]), Outcome(**each["outcome"]), command, each)
            for command, each in records["crowds"].items()
        ),
        key=lambda each: (_kind(each[0]), each[0].downloaders),
    )
    parts = [INTRO, "\n", HEAD]
    parts += [_row(scenario, outcome) for scenario, outcome, _, _ in crowds]
    parts += ["\nCost and completion by the size of the crowd, and of a pick:\n\n"]
    parts += ["![How it grows](simulation.svg)\n\n", "Commands:\n\n"]
    parts += [f"- `{command}`: {each['where']}\n" for _, _, command, each in crowds]
    picks = [Picks(**each) for each in (records["picks"] or {"found": ()})["found"]]
    if picks:
        parts += ["\n", PICKS, _pick_table(picks), "\n"]
        parts += [f"`scripts/bench simulate --picks`: {records['picks']['where']}\n"]
    (folder / "simulation.md").write_text("".join(parts), encoding="utf-8")
    plain = [(s, o) for s, o, _, _ in crowds if _kind(s) == (False, 0.0, 0.0)]
    picture = _picture(plain, picks)
    (folder / "simulation.svg").write_text(picture, encoding="utf-8")


def _kind(scenario: Scenario) -> tuple[bool, float, float]:
    is_mixed = tuple(scenario.uplinks) == MIXED
    return is_mixed, scenario.leavers, scenario.liars


def _row(scenario: Scenario, outcome: Outcome) -> str:
    cells = [
        f"{scenario.downloaders:,}",
        "mixed" if _kind(scenario)[0] else "equal",
        f"{scenario.leavers:.0%}" if scenario.leavers else "-",
        f"{scenario.liars:.0%}" if scenario.liars else "-",
        f"{outcome.bound:.1f}",
        f"{outcome.last:.1f}",
        f"{outcome.over:.3f}",
        f"{outcome.copies:.3f}",
        f"{outcome.twice:.3%}",
        f"{outcome.wrong:.3%}",
        f"{outcome.control:,.0f}",
        f"{outcome.control_share:.3%}",
        f"{outcome.processor:,.0f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _pick_table(picks: Sequence[Picks]) -> str:
    rows = [
        f"| {each.chunks:,} | {each.seconds * 1e6:.2f} | {each.rate:,.0f} "
        f"| {each.seconds / picks[0].seconds:.2f} |\n"
        for each in picks
    ]
    head = "| chunks | us a pick | picks/s | of that at 1,000 |\n|---|---|---|---|\n"
    return head + "".join(rows)


def _picture(crowds: Sequence[tuple[Scenario, Outcome]], picks: Sequence[Picks]) -> str:
    sides = [
        (
            "Last / bound, by downloaders",
            [(f"{s.downloaders:,}", o.over) for s, o in crowds],
            2,
        ),
        (
            "Control bytes a chunk, by downloaders",
            [(f"{s.downloaders:,}", o.control) for s, o in crowds],
            0,
        ),
        (
            "Microseconds of a pick, by chunks",
            [(f"{each.chunks:,}", each.seconds * 1e6) for each in picks],
            1,
        ),
    ]
    parts = [
        _curve(title, points, digits, LEFT + STEP * place)
        for place, (title, points, digits) in enumerate(sides)
        if points
    ]
    said = escape("; ".join(f"{title}: {points}" for title, points, _ in sides))
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    ground = GROUND.format(width=WIDTH - 1, height=HEIGHT - 1)
    lines = [head, f"<title>{said}</title>", f"<style>{STYLE}</style>", ground]
    return "\n".join([*lines, *parts, "</svg>\n"])


def _curve(
    title: str, points: Sequence[tuple[str, float]], digits: int, left: int
) -> str:
    """Return a curve over evenly spaced names, from zero."""
    top = max(value for _, value in points) * 1.15
    step = PLOT_WIDTH / max(1, len(points) - 1)
    base = TOP + PLOT_HEIGHT
    places = [
        (left + step * at, base - PLOT_HEIGHT * value / top)
        for at, (_, value) in enumerate(points)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        f'<text class="title" x="{left - 40}" y="{TOP - 22}">{escape(title)}</text>',
        f'<line class="spread" x1="{left - 20}" x2="{left + PLOT_WIDTH + 20}" '
        f'y1="{base}" y2="{base}"/>',
        f'<polyline class="curve" points="{line}"/>',
    ]
    for (name, value), (x, y) in zip(points, places, strict=True):
        parts += [
            f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            f'<text text-anchor="middle" x="{x:.1f}" y="{y - 10:.1f}">'
            f"{value:.{digits}f}</text>",
            f'<text class="quiet" text-anchor="middle" x="{x:.1f}" y="{base + 22}">'
            f"{escape(name)}</text>",
        ]
    return "\n".join(parts)
