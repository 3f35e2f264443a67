"""Check which liars are banned, and when a whole host is distrusted."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.bans import BAN_TIME, MAX_LIARS, TRIAL_TIME, Bans
from shoal.core.names.address import Address

NAT = "8.8.8.8"


def test_a_ban_is_for_one_port_and_ends() -> None:
    bans, liar = Bans(), Address(NAT, 4000)
    bans.ban(liar, 10.0)
    bans.note_liar(NAT, 10.0, dialled=False)
    assert bans.is_banned(liar, 10.0 + BAN_TIME - 1)
    assert not bans.is_banned(liar, 10.0 + BAN_TIME)
    assert not bans.is_banned(Address(NAT, 4001), 10.0)
    assert bans.may_try(NAT, 10.0, dialled=False)


def test_several_liars_at_a_host_let_one_peer_be_tried_at_a_time() -> None:
    bans = Bans()
    for number in range(MAX_LIARS):
        assert bans.may_try(NAT, float(number), dialled=False)
        bans.note_liar(NAT, float(number), dialled=False)
    last = MAX_LIARS - 1.0
    assert not bans.may_try(NAT, last + TRIAL_TIME - 1, dialled=False)
    assert bans.may_try(NAT, last + TRIAL_TIME, dialled=False)
    assert not bans.may_try(NAT, last + TRIAL_TIME, dialled=False)
    assert bans.may_try(NAT, last + 2 * TRIAL_TIME, dialled=False)
    assert bans.may_try("8.8.4.4", last, dialled=False)
    assert not bans.is_distrusted(NAT, BAN_TIME, dialled=False)
    assert bans.may_try(NAT, BAN_TIME, dialled=False)


def test_liars_in_one_ipv6_prefix_are_liars_at_one_host() -> None:
    bans = Bans()
    for number in range(MAX_LIARS):
        host = f"2a01:1:2:3::{number}"
        assert bans.may_try(host, 0.0, dialled=True)
        bans.note_liar(host, 0.0, dialled=True)
    assert bans.is_distrusted("2a01:1:2:3:ffff::9", 0.0, dialled=True)
    assert not bans.may_try("2a01:1:2:3:ffff::9", 0.0, dialled=True)
    assert bans.may_try("2a01:1:2:4::9", 0.0, dialled=True)


def test_on_a_private_network_a_dialled_peer_is_not_distrusted() -> None:
    bans = Bans()
    for _ in range(99):
        for host in ("192.168.1.2", "127.0.0.1", "a-name.example", "fd00::2", "::1"):
            bans.note_liar(host, 0.0, dialled=True)
            assert bans.may_try(host, 0.0, dialled=True)
            assert bans.may_try(host, 0.0, dialled=False)


def test_liars_that_dialled_from_a_private_host_are_counted() -> None:
    bans, host = Bans(), "192.168.1.2"
    for _ in range(MAX_LIARS):
        assert bans.may_try(host, 0.0, dialled=False)
        bans.note_liar(host, 0.0, dialled=False)
    assert not bans.may_try(host, 0.0, dialled=False)
    assert bans.may_try(host, 0.0, dialled=True)


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=200))
def test_a_liar_that_returns_at_once_wastes_a_bounded_number_of_trials(
    waits: list[float],
) -> None:
    bans, now, lies, begun = Bans(), 0.0, 0, 0.0
    for wait in waits:
        now += wait
        if bans.may_try(NAT, now, dialled=False):
            bans.note_liar(NAT, now, dialled=False)
            lies += 1
    assert lies <= MAX_LIARS * (1 + (now - begun) / BAN_TIME) + now / TRIAL_TIME


def test_nothing_is_remembered_of_liars_of_long_ago() -> None:
    bans = Bans()
    for number in range(1000):
        host = f"8.8.{number % 250}.{number % 199}"
        bans.ban(Address(host, 4000), number * BAN_TIME)
        bans.note_liar(host, number * BAN_TIME, dialled=False)
    assert len(bans._bans) == len(bans._liars) == len(bans._trials) == 1
