"""Fixtures for the tests of the gateway: a peer with a file, and a gateway for it."""

from collections.abc import AsyncIterator

import pytest

from shoal.gateway.server import Gateway
from tests.helpers.gateway import FILM, serving
from tests.helpers.holder import Holder


@pytest.fixture
async def holder() -> AsyncIterator[Holder]:
    async with Holder(FILM) as holder:
        yield holder


@pytest.fixture
async def gateway(holder: Holder) -> AsyncIterator[Gateway]:
    async with serving(holder) as gateway:
        yield gateway
