"""Check the average rate over the last seconds."""

import pytest

from shoal.core.report.rate import AVERAGED, RateMeter


def test_a_steady_rate_is_measured() -> None:
    meter = RateMeter(100.0, 5000)
    for step in range(1, 50):
        rate = meter.rate(100.0 + step * 0.25, 5000 + step * 250)
        assert rate == pytest.approx(1000.0)


def test_the_rate_without_elapsed_time_is_zero() -> None:
    assert RateMeter(1.0).rate(1.0, 100) == 0.0


def test_growth_before_the_last_seconds_does_not_count() -> None:
    meter = RateMeter(0.0)
    assert meter.rate(1.0, 1_000_000) == 1_000_000.0
    for step in range(2, 20):
        rate = meter.rate(float(step), 1_000_000)
    assert rate == 0.0


def test_a_long_silence_is_averaged_as_a_whole() -> None:
    meter = RateMeter(0.0)
    assert meter.rate(10 * AVERAGED, 300) == pytest.approx(300 / (10 * AVERAGED))


def test_only_the_last_seconds_are_remembered() -> None:
    meter = RateMeter(0.0)
    for step in range(10_000):
        meter.rate(step * 0.1, step)
    assert len(meter._samples) <= AVERAGED / 0.1 + 3
