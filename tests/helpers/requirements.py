"""What a test needs of the machine it runs on."""

import os

import pytest

__all__ = ["require"]


def require(reason: str | None) -> None:
    """Skip the test for `reason`, if there is one; in CI that is a failure."""
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"missing in CI: {reason}")
    pytest.skip(reason)
