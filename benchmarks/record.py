"""docs/benchmarks.json: the recorded results, the source of tables and picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.model import Result, Sample

__all__ = ["Record", "load", "save"]


@dataclass(frozen=True)
class Record:
    """The result of a workload, with the command, date and machine."""

    command: str
    date: str
    machine: str
    result: Result


def load(path: Path) -> dict[str, Record]:
    """Return the last record of each workload by name."""
    if not path.exists():
        return {}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: _decode(fields) for name, fields in known.items()}


def save(path: Path, records: Mapping[str, Record]) -> None:
    """Write all records, one line for each side to keep diffs readable."""
    parts = []
    for name in sorted(records):
        record = records[name]
        result = record.result
        head = {
            "command": record.command,
            "date": record.date,
            "machine": record.machine,
            "missing": list(result.missing),
            "notes": list(result.notes),
        }
        lines = [f"  {_dump(key)}: {_dump(value)}" for key, value in head.items()]
        sides = [
            f"   {_dump(side)}: {_dump(_encode(samples))}"
            for side, samples in result.samples.items()
        ]
        lines.append('  "sides": {\n' + ",\n".join(sides) + "\n  }")
        parts.append(f" {_dump(name)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _encode(samples: Sequence[Sample]) -> dict[str, list[float | None]]:
    """Return a list of values for each figure, in the order of the rounds."""
    keys = dict.fromkeys(key for sample in samples for key in sample)
    return {key: [_short(sample.get(key)) for sample in samples] for key in keys}


def _short(value: float | None) -> float | None:
    """Round to the digits that are significant."""
    return None if value is None else float(f"{value:.5g}")


def _decode(fields: dict[str, Any]) -> Record:
    samples = {side: _rounds(figures) for side, figures in fields["sides"].items()}
    result = Result(samples, fields["missing"], fields["notes"])
    return Record(fields["command"], fields["date"], fields["machine"], result)


def _rounds(figures: Mapping[str, Sequence[float | None]]) -> list[Sample]:
    count = max(map(len, figures.values()), default=0)
    return [
        {
            key: value
            for key, values in figures.items()
            if (value := values[at]) is not None
        }
        for at in range(count)
    ]
