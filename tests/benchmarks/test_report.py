"""The record, tables and picture that the benchmarks make of their results."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.model import Column, Ratio, Result, Workload
from benchmarks.record import Record
from benchmarks.table import judge, render

from benchmarks import plot, record, report

RESULT = Result(
    samples={
        "shoal": [{"rate": 600e6, "peak": 10.0}, {"rate": 500e6}, {"rate": 800e6}],
        "other <1>": [{"rate": 400e6}, {"rate": 500e6}, {"rate": 400e6}],
    },
    missing=["third (no third on this machine)."],
    notes=["A note."],
)
RECORD = Record("scripts/bench one-to-one", "2026-01-02", "a machine", RESULT)
WORKLOAD = Workload(
    name="one-to-one",
    title="From one to one",
    how="Somehow.",
    columns=[Column("rate", "MB/s", 0, 1e-6), Column("peak", "peak")],
    ratios=[Ratio("speed", "rate", "shoal", "other <1>", "at least 1.4")],
    prepare=lambda setup: (),
)


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        ("at least 1.0", 1.0, "yes"),
        ("at least 1.0; 1.1 is hoped for", 0.96, "within 5 %"),
        ("at least 1.0", 0.94, "no"),
        ("at most 1.10", 1.1, "yes"),
        ("at most 1.10", 1.15, "within 5 %"),
        ("at most 1.10", 1.2, "no"),
        ("near 0", 0.1, ""),
        ("", 1.0, ""),
    ],
)
def test_a_goal_is_judged_with_its_tolerance(
    goal: str, value: float, verdict: str
) -> None:
    assert judge(goal, value) == verdict


def test_ratios_are_computed_by_round_and_their_median_is_judged() -> None:
    table = render(WORKLOAD, RESULT)
    assert "| shoal     | 600 (500-800) | 10.00 |" in table
    assert "| other <1> | 400 (400-500) | -     |" in table
    assert "| speed                    | 1.50 (1.00-2.00) | at least 1.4 | yes" in table
    assert "Missing: third (no third on this machine)." in table
    assert table.endswith("A note.")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record.save(path, {"one-to-one": RECORD, "another": RECORD})
    assert record.load(path) == {"another": RECORD, "one-to-one": RECORD}
    assert record.load(tmp_path / "none.json") == {}


def test_a_new_section_replaces_the_old_one_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Title\n\n## one-to-one\n\nold\n\n## by hand\n\nkept\n")
    report.update(tmp_path, {"one-to-one": WORKLOAD}, "one-to-one", RECORD)
    text = page.read_text()
    assert text.startswith("# Title\n\n## one-to-one\n\nFrom one to one. Somehow.\n")
    assert "old" not in text
    assert text.endswith("\n\n## by hand\n\nkept\n")
    report.draw(tmp_path, {"one-to-one": WORKLOAD})
    assert page.read_text() == text


def test_the_picture_is_well_formed_and_shows_the_best_side_first() -> None:
    picture = plot.draw({"one-to-one": RECORD})
    assert picture is not None
    tree = ElementTree.fromstring(picture)
    svg = "{http://www.w3.org/2000/svg}"
    bars = [each.get("class") for each in tree.iter(f"{svg}rect")]
    assert bars == ["ground", "ours", "theirs"]
    said = [each.text for each in tree.iter(f"{svg}text")]
    assert said[2:] == ["shoal", "600", "other <1>", "400"]
    assert plot.draw({}) is None
