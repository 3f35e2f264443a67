"""docs/benchmarks.md: one section for each workload, replaced when it runs again."""

import re
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, table
from benchmarks.model import Result

__all__ = ["update"]

_INTRO = """\
# Benchmarks

Made by `scripts/bench --write`: each section by the command it names, on the machine
and at the time it names. The sides run in turn, five times or more; figures are
median (min-max), ratios are taken round by round. Every result is checked by hash,
which is not counted. Compare the ratios, not the figures: these differ from
machine to machine and from hour to hour.
"""


def update(path: Path, result: Result, command: str) -> None:
    """Write the section of one workload; the others stay as they are."""
    text = path.read_text(encoding="utf-8") if path.exists() else _INTRO
    workload = result.workload
    heading = f"## {workload.name}"
    section = "\n\n".join(
        [
            heading,
            f"{workload.title}. {workload.how}",
            f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine.describe()}.",
            table.render(result),
        ]
    )
    old = re.compile(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", re.M | re.S)
    if old.search(text):
        text = old.sub(lambda match: section + "\n\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
