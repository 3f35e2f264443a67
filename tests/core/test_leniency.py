"""Handshakes that come to nothing are bounded, by host; others cost nothing."""

from shoal.core.limits.leniency import BURST, MAX_HOSTS, RATE, Leniency

HOST, OTHER = "127.0.0.1", "127.0.0.2"


def exhaust(leniency: Leniency, host: str, now: float = 0.0) -> int:
    """Fail for as long as that is allowed; return how often."""
    count = 0
    while leniency.allows(host, now):
        leniency.on_failed(host, now)
        count += 1
    return count


def test_so_many_fail_at_once_and_then_so_many_a_second() -> None:
    leniency = Leniency()
    assert exhaust(leniency, HOST) == BURST
    assert exhaust(leniency, HOST, 1.0) == RATE
    assert exhaust(leniency, HOST, 1000.0) == BURST


def test_a_host_pays_for_nobody_else() -> None:
    leniency = Leniency()
    exhaust(leniency, HOST)
    assert leniency.allows(OTHER, 0.0)
    exhaust(leniency, "2600:1:2:3::1")
    assert not leniency.allows("2600:1:2:3:ffff::2", 0.0)
    assert leniency.allows("2600:1:2:4::1", 0.0)


def test_who_stops_is_soon_let_in_however_long_it_went_on() -> None:
    leniency = Leniency()
    for _ in range(100_000):
        leniency.on_failed(HOST, 0.0)
    assert not leniency.allows(HOST, 0.5 / RATE)
    assert leniency.allows(HOST, 1.0 / RATE)


def test_only_so_many_hosts_are_remembered_the_latest_of_them() -> None:
    leniency = Leniency(burst=1.0, rate=0.0)
    for number in range(MAX_HOSTS + 10):
        leniency.on_failed(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert len(leniency) == MAX_HOSTS
    assert leniency.allows("10.0.0.9", 0.0)
    assert not leniency.allows("10.0.0.10", 0.0)
