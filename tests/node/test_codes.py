"""A code is waited for no longer than the caller says."""

import pytest

from shoal.errors import NotFoundError
from shoal.node.node import Node
from tests.helpers.fetching import here


async def test_a_fetch_by_a_code_that_no_one_offers_ends_in_time() -> None:
    async with Node(here()) as node:
        with pytest.raises(NotFoundError, match="offers this code"):
            await node.fetch("4821-purity-carbon-olympic", timeout=0.2)
