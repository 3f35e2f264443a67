"""The record, table and picture that are made of simulated swarms."""

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.simulation import report
from benchmarks.simulation.outcome import Outcome
from benchmarks.simulation.picks import Picks
from benchmarks.simulation.scenario import MIXED, Scenario

OUTCOME = Outcome(
    bound=80.0,
    last=100.0,
    copies=1.1,
    twice=0.001,
    wrong=0.0,
    control=400.0,
    control_share=0.0004,
    chunks=1,
    processor=7.0,
)


def test_swarms_and_picks_are_recorded_listed_and_drawn(tmp_path: Path) -> None:
    for number in (1_000, 100):
        scenario = Scenario(downloaders=number)
        report.add(tmp_path, scenario, OUTCOME, f"run {number}", "here")
    mixed = Scenario(downloaders=10, uplinks=MIXED, leavers=0.5, liars=0.05)
    report.add(tmp_path, mixed, OUTCOME, "run mixed", "here")
    report.add_picks(tmp_path, [Picks(1_000, 5e-6), Picks(1_000_000, 8e-6)], "here")
    text = (tmp_path / "simulation.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| 1")]
    assert rows[0].startswith("| 100 | equal | - | - | 80.0 | 100.0 | 1.250 |")
    assert rows[1].startswith("| 1,000 |")
    assert rows[2].startswith("| 10 | mixed | 50% | 5% |")
    assert "| 1,000,000 | 8.00 | 125,000 | 1.60 |" in text
    assert "`run mixed`: here" in text
    picture = ElementTree.parse(tmp_path / "simulation.svg").getroot()
    said = "".join(picture.itertext())
    assert "1.25" in said
    assert "8.0" in said
    assert said.count("100") >= 2


def test_a_repeated_command_replaces_its_record(tmp_path: Path) -> None:
    for _ in range(2):
        report.add(tmp_path, Scenario(downloaders=5), OUTCOME, "run", "here")
    assert (tmp_path / "simulation.md").read_text().count("`run`") == 1
