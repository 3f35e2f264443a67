"""Check when a download reports a stall, and when it ends."""

from typing import Any

import pytest

from shoal.core.report.stall import Cause, DownloadState, Search, Unavailable
from shoal.core.report.stall_timer import (
    LIARS_TIME,
    REPORT_AFTER,
    SIZES_TIME,
    StallTimer,
)
from shoal.errors import (
    NotFoundError,
    ShoalError,
    UnfinishedError,
    VerificationError,
)


def state(**changes: Any) -> DownloadState:
    """Return the state of a download that found no peer, with `changes`."""
    facts: dict[str, Any] = {
        "found": 0,
        "ready": 0,
        "has_only_liars": False,
        "is_size_unknown": False,
        "is_begun": False,
        **changes,
    }
    return DownloadState(**facts)


def test_without_a_timeout_a_download_waits_forever() -> None:
    timer = StallTimer(None, 0.0)
    assert timer.reason_to_end(1e9, state()) is None
    assert timer.reason_to_end(1e9, state(found=3, ready=2)) is None


@pytest.mark.parametrize(
    ("changes", "error"),
    [({}, NotFoundError), ({"found": 3, "is_begun": True}, UnfinishedError)],
)
def test_a_download_ends_after_the_timeout_without_a_chunk(
    changes: dict[str, Any], error: type[ShoalError]
) -> None:
    timer = StallTimer(5.0, 100.0)
    assert timer.reason_to_end(104.9, state(**changes)) is None
    assert type(timer.reason_to_end(105.0, state(**changes))) is error
    timer.on_chunk(105.0)
    assert timer.waited(106.5) == 1.5
    assert timer.reason_to_end(109.9, state(**changes)) is None


def test_a_download_with_only_liars_waits_a_while_for_an_honest_peer() -> None:
    timer = StallTimer(None, 0.0)
    liars = state(found=2, has_only_liars=True)
    assert timer.reason_to_end(1.0, state(found=1)) is None
    assert timer.reason_to_end(1.0 + LIARS_TIME, liars) is None
    # Another peer was found meanwhile, and sent wrong data as well.
    assert timer.reason_to_end(10.0, state(found=3)) is None
    assert timer.reason_to_end(10.0 + LIARS_TIME, liars) is None
    ended = timer.reason_to_end(10.1 + LIARS_TIME, liars)
    assert type(ended) is VerificationError
    assert "All 2 peers found" in str(ended)


def test_only_liars_at_the_timeout_are_a_verification_error() -> None:
    timer = StallTimer(2.0, 0.0)
    liars = state(found=1, has_only_liars=True, is_begun=True)
    assert type(timer.reason_to_end(2.0, liars)) is VerificationError


def test_servers_have_a_few_seconds_to_send_the_sizes() -> None:
    timer = StallTimer(None, 0.0)
    silent = state(found=1, ready=1, is_size_unknown=True)
    assert timer.reason_to_end(50.0, state(found=1)) is None
    assert timer.reason_to_end(50.0 + SIZES_TIME, silent) is None
    ended = timer.reason_to_end(50.1 + SIZES_TIME, silent)
    assert ended is not None
    assert (ended.exit_code, "fetch_chunk()" in str(ended)) == (1, True)


def test_a_stall_is_reported_at_intervals() -> None:
    timer = StallTimer(None, 0.0)
    assert timer.stall_to_report(REPORT_AFTER - 0.1, state()) is None
    assert timer.stall_to_report(REPORT_AFTER, state()) is not None
    assert timer.stall_to_report(REPORT_AFTER + 0.1, state()) is None
    assert timer.stall_to_report(2 * REPORT_AFTER, state()) is not None
    timer.on_chunk(2.5 * REPORT_AFTER)
    assert timer.stall_to_report(3 * REPORT_AFTER, state()) is None


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({}, Cause.NOBODY_FOUND, "found no peer yet; check the id"),
        (
            {"search": Search(("the LAN (lo)", "the DHT (4 nodes answered)"))},
            Cause.NOBODY_FOUND,
            "found no peer on the LAN (lo) or the DHT (4 nodes answered) yet",
        ),
        (
            {"search": Search(problems=("No multicast.",))},
            Cause.NOBODY_FOUND,
            'peers="HOST:PORT". No multicast.',
        ),
        (
            {"found": 2},
            Cause.UNREACHABLE,
            "found 2 peers but could not connect to any of them; check that the share "
            "is still served there, and the firewalls in between, or name a relay on "
            'both sides with relays="HOST:PORT".',
        ),
        (
            {"found": 1, "ready": 1},
            Cause.SILENT,
            "the connected peer has not answered for 20 s.",
        ),
        (
            {"found": 4, "ready": 3},
            Cause.SILENT,
            "none of the 3 connected peers has answered for 20 s.",
        ),
        (
            {"found": 2, "ready": 2, "unavailable": Unavailable(17, 1)},
            Cause.NOBODY_HAS,
            "none of the 2 connected peers has chunk 17; waiting for a peer that",
        ),
        (
            {"found": 3, "ready": 3, "unavailable": Unavailable(17, 5)},
            Cause.NOBODY_HAS,
            "none of the 3 connected peers has chunk 17 and 4 more; waiting",
        ),
        (
            {"found": 3, "ready": 3, "unwritten": 61 << 20},
            Cause.DISK,
            "the disk is slow: 61.0 MiB are waiting to be written.",
        ),
    ],
)
def test_a_stall_names_its_cause(
    changes: dict[str, Any], cause: Cause, words: str
) -> None:
    told = StallTimer(None, 0.0).stall_to_report(REPORT_AFTER, state(**changes))
    assert told is not None
    assert told.cause is cause
    assert words in told.reason


def test_time_without_checks_is_no_waiting() -> None:
    timer = StallTimer(3.0, 0.0)
    for second in range(3):
        timer.on_check(float(second))
        assert timer.reason_to_end(float(second), state()) is None
    timer.on_check(602.0)  # the process was stopped, or verified a target
    assert timer.stall_to_report(602.0, state()) is None
    assert timer.reason_to_end(602.0, state()) is None
    assert timer.waited(602.0) == 2.0
    timer.on_check(603.0)
    assert timer.reason_to_end(603.0, state()) is not None


def test_data_that_has_just_arrived_gets_its_time() -> None:
    """A peer was found late; the disk is not to blame, and the download goes on."""
    timer, timeout = StallTimer(20.0, 0.0), 20.0
    assert timer.reason_to_end(timeout - 1, state()) is None
    arrived = state(found=1, ready=1, unwritten=100)
    for late in (0.0, 1.0, timeout - 2):
        assert timer.reason_to_end(timeout + late, arrived) is None
        assert timer.stall_to_report(REPORT_AFTER + late, arrived) is None
    error = timer.reason_to_end(2 * timeout, arrived)
    assert "the disk is slow" in str(error)
