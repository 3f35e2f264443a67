"""Ways to make a run on a faulty disk fail."""

from tests.helpers.faulty.disk import FaultyDisk

__all__ = ["PowerLoss", "fail_at", "lose_power_at", "no_fault"]


class PowerLoss(BaseException):
    """Ends a run; code under test must not catch it."""


def no_fault(number: int, method: str) -> int:
    """Let every call succeed."""
    return 0


def fail_at(disk: FaultyDisk, call: int, error: int) -> None:
    """Let one call fail."""
    disk.fault = lambda number, method: error if number == call else 0


def lose_power_at(disk: FaultyDisk, call: int) -> None:
    """End the run at one call; no later call has an effect."""

    def fault(number: int, method: str) -> int:
        if number >= call:
            raise PowerLoss
        return 0

    disk.fault = fault
