"""Limits on failed handshakes and arriving peers of each host, on a fake clock."""

from shoal.core.host_limits import HANDSHAKE_BURST, HANDSHAKE_RATE, MAX_HOSTS, HostLimit

HOST, OTHER = "127.0.0.1", "127.0.0.2"


def exhaust(limit: HostLimit, host: str, now: float = 0.0) -> int:
    """Fail until the host is at its limit; return the number of failures."""
    count = 0
    while limit.allows(host, now):
        limit.add(host, now)
        count += 1
    return count


def test_what_costs_as_much_as_several_counts_as_several() -> None:
    limit = HostLimit(burst=10.0, rate=2.0)
    limit.weight = 5.0
    assert [limit.admits("192.0.2.1", 0.0) for _ in range(3)] == [True, True, False]
    assert not limit.admits("192.0.2.1", 2.0)
    assert limit.admits("192.0.2.1", 2.5)


def test_a_burst_of_handshakes_may_fail_and_then_a_few_a_second() -> None:
    limit = HostLimit()
    assert exhaust(limit, HOST) == HANDSHAKE_BURST
    assert exhaust(limit, HOST, 1.0) == HANDSHAKE_RATE
    assert exhaust(limit, HOST, 1000.0) == HANDSHAKE_BURST


def test_hosts_are_limited_separately_and_an_ipv6_network_as_one_host() -> None:
    limit = HostLimit()
    exhaust(limit, HOST)
    assert limit.allows(OTHER, 0.0)
    exhaust(limit, "2600:1:2:3::1")
    assert not limit.allows("2600:1:2:3:ffff::2", 0.0)
    assert limit.allows("2600:1:2:4::1", 0.0)


def test_a_host_that_stops_is_soon_allowed_however_often_it_failed() -> None:
    limit = HostLimit()
    for _ in range(100_000):
        limit.add(HOST, 0.0)
    assert not limit.allows(HOST, 0.5 / HANDSHAKE_RATE)
    assert limit.allows(HOST, 1.0 / HANDSHAKE_RATE)


def test_only_the_hosts_that_failed_last_are_remembered() -> None:
    limit = HostLimit(burst=1.0, rate=0.0)
    for number in range(MAX_HOSTS + 10):
        limit.add(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert len(limit) == MAX_HOSTS
    assert limit.allows("10.0.0.9", 0.0)
    assert not limit.allows("10.0.0.10", 0.0)
