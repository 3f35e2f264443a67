"""Requirements of a test on the machine."""

import os

import pytest

__all__ = ["require"]


def require(reason: str | None) -> None:
    """Skip the test if there is a `reason`; in CI, fail it."""
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"missing in CI: {reason}")
    pytest.skip(reason)
