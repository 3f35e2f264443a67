"""The cases of links that are quoted, changed or broken, against the real command."""

from pathlib import Path

import pytest

from tests.adversary.misread import MISREAD


@pytest.mark.parametrize("case", MISREAD)
def test_no_neighbour_is_asked_for_a_link(case: str, tmp_path: Path) -> None:
    MISREAD[case](tmp_path)
