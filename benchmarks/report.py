"""Update the files docs/benchmarks.*: recorded results, tables and picture.

docs/benchmarks.md has one section for each workload, which a new run replaces. Other
text in the file stays unchanged.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks import plot, record, table
from benchmarks.model import Workload
from benchmarks.record import Record

__all__ = ["draw", "update"]

_INTRO = """\
# Benchmarks

`scripts/bench --write` makes this page: each section with the command, on the machine
and at the time that the section names. The programs run in turn, five times or more.
Figures are median (min-max); ratios are computed for each round. Every result is
verified by hash, which is not part of the time. Compare the ratios, not the figures,
which differ from machine to machine and from hour to hour. A goal counts as reached
within 5 %.

[simulation.md](simulation.md) has simulations of up to 10,000 downloaders,
[limits.md](limits.md) the reasons for goals that were not reached.
"""


def update(
    folder: Path, workloads: Mapping[str, Workload], name: str, measured: Record
) -> None:
    """Record the result of one workload and redraw tables and picture."""
    path = folder / "benchmarks.json"
    records = {**record.load(path), name: measured}
    folder.mkdir(exist_ok=True)
    record.save(path, records)
    draw(folder, workloads)


def draw(folder: Path, workloads: Mapping[str, Workload]) -> None:
    """Draw the tables and the picture from the records."""
    records = record.load(folder / "benchmarks.json")
    path = folder / "benchmarks.md"
    text = path.read_text(encoding="utf-8") if path.exists() else _INTRO
    for name, workload in workloads.items():
        if name in records:
            text = _put(text, _section(workload, records[name]))
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    picture = plot.draw(records)
    if picture is not None:
        (folder / "benchmarks.svg").write_text(picture, encoding="utf-8")


def _section(workload: Workload, measured: Record) -> str:
    return "\n\n".join(
        [
            f"## {workload.name}",
            f"{workload.title}. {workload.how}",
            f"`{measured.command}`, {measured.date}, {measured.machine}.",
            table.render(workload, measured.result),
        ]
    )


def _put(text: str, section: str) -> str:
    """Replace the section with the same heading, or append the section."""
    heading = section.partition("\n")[0]
    old = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.M | re.S)
    if old.search(text):
        return old.sub(lambda match: section + "\n\n", text)
    return f"{text.rstrip()}\n\n{section}\n"
