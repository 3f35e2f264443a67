"""How fast something went over the last seconds."""

import pytest

from shoal.core.report.rate import AVERAGED, RateMeter


def test_a_steady_rate_is_what_it_is() -> None:
    meter = RateMeter(100.0, 5000)
    for step in range(1, 50):
        rate = meter.rate(100.0 + step * 0.25, 5000 + step * 250)
        assert rate == pytest.approx(1000.0)


def test_no_time_has_no_rate() -> None:
    assert RateMeter(1.0).rate(1.0, 100) == 0.0


def test_what_was_longer_ago_than_the_span_does_not_count() -> None:
    meter = RateMeter(0.0)
    assert meter.rate(1.0, 1_000_000) == 1_000_000.0
    for step in range(2, 20):
        rate = meter.rate(float(step), 1_000_000)
    assert rate == 0.0


def test_a_long_silence_is_averaged_over_all_of_it() -> None:
    meter = RateMeter(0.0)
    assert meter.rate(10 * AVERAGED, 300) == pytest.approx(300 / (10 * AVERAGED))


def test_it_remembers_no_more_than_the_span() -> None:
    meter = RateMeter(0.0)
    for step in range(10_000):
        meter.rate(step * 0.1, step)
    assert len(meter._samples) <= AVERAGED / 0.1 + 3
