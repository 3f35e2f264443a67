"""A person who has read only `shoal --help` sends a folder, by link and by code."""

import runpy
from pathlib import Path

from tests.helpers.netns import Namespace

ROOT = Path(__file__).parents[2]


def test_the_help_is_enough_and_the_tutorial_shows_what_happens(
    namespace: Namespace, tmp_path: Path
) -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_transcript.py"))
    made: str = script["transcript"](namespace, tmp_path)
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    assert made in tutorial, "run python docs/make_transcript.py"
    assert made.count("has everything.") == 2
