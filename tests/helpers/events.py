"""Check JSON lines against the tables of `docs/json.md`."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["VARIANTS", "Variant", "lines_of", "variant_of"]

_DOCS = Path(__file__).parents[2] / "docs" / "json.md"
_SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)
_CHECKS = {
    "number": lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    "text": lambda v: isinstance(v, str) and v != "",
    "true": lambda v: v is True,
    "false": lambda v: v is False,
    "null": lambda v: v is None,
    "`HOST:PORT`": lambda v: bool(re.fullmatch(r"([\w.-]+|\[[\w:.%-]+\]):\d+", str(v))),
}
for _unit in ("bytes", "bytes per second", "seconds"):
    _CHECKS[_unit] = _CHECKS["number"]


class Variant(NamedTuple):
    """One kind of line: its event, and the permitted values of its fields."""

    event: str
    fields: tuple[tuple[str, tuple[str, ...]], ...]

    def fits(self, line: dict[str, Any]) -> bool:
        """Return True if a line is of this kind and has exactly its fields."""
        rest = {k: v for k, v in line.items() if k not in ("v", "event")}
        known = dict(self.fields)
        needed = {name for name, kinds in self.fields if "absent" not in kinds}
        return (
            line["event"] == self.event
            and needed <= rest.keys() <= known.keys()
            and all(any(_is(k, v) for k in known[n]) for n, v in rest.items())
        )


def _is(kind: str, value: Any) -> bool:
    check = _CHECKS.get(kind)
    return check(value) if check is not None else value == kind.strip("`")


VARIANTS = [
    Variant(
        section[1],
        tuple((r[1], tuple(r[2].split(", "))) for r in _ROW.finditer(table[0])),
    )
    for section in _SECTION.finditer(_DOCS.read_text())
    for table in _TABLE.finditer(section[2])
]
"""All documented kinds of lines."""


def variant_of(line: dict[str, Any]) -> Variant:
    """Return the kind of a line; fail if none or several kinds match."""
    fitting = [each for each in VARIANTS if each.fits(line)]
    assert line["v"] == 1
    assert len(fitting) == 1, line
    return fitting[0]


def lines_of(stdout: bytes) -> list[dict[str, Any]]:
    """Return JSON lines; fail unless all are documented and only the last is final."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]
    for line in lines:
        variant_of(line)
    ends = [line["event"] in ("complete", "error") for line in lines]
    assert ends[-1], lines
    return lines
