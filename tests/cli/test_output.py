"""Messages that go to a file are limited."""

import pytest

from shoal.cli.output import Output


def test_a_limited_number_of_bytes_of_messages_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(
        is_quiet=False, is_verbose=True, as_json=False, shows_progress=False
    )
    output.say("without a limit" * 1000)
    output.room = 30
    for number in range(5):
        output.say(f"Connected to {number}.")
        output.warn(f"{number}")
    first, *lines = capsys.readouterr().err.splitlines()
    assert len(first) == 15_000
    assert lines == [
        "Connected to 0.",
        "shoal: 0",
        "shoal: The size limit for messages is reached; no more follow.",
    ]
