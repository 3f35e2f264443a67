"""Reads use origins too, through fsspec as through `shoal.open`."""

import gc
from collections.abc import Iterator

import fsspec
import pytest

from shoal.core.names.origin_url import quote_origin
from shoal.errors import NotFoundError
from shoal.integrations.fsspec import ShoalFileSystem
from tests.conftest import MakeFile
from tests.helpers.sharing import Share, near, sharing
from tests.helpers.web_origin import WebOrigin, web_origin_beside

CHUNK = 16_384


@pytest.fixture(name="share_it")
def _share_it() -> Iterator[Share]:
    with sharing() as share_it:
        yield share_it
    # The node ends with the last reference to it.
    ShoalFileSystem.clear_instance_cache()  # type: ignore[no-untyped-call]
    gc.collect()


@pytest.fixture
def origin() -> Iterator[WebOrigin]:
    """Start a web server without files."""
    with web_origin_beside({}) as served:
        yield served


def test_a_read_from_a_named_origin_requests_little_more_than_it_needs(
    origin: WebOrigin, make_file: MakeFile, share_it: Share
) -> None:
    path = make_file(64 * CHUNK, 1)
    data = origin.files["f"] = path.read_bytes()
    shared = share_it(path, chunk_size=CHUNK)
    name = str(shared.link).removeprefix("shoal:") + "/" + path.name
    settings = {"origins": origin.url + "f", **near(shared)}
    system = fsspec.filesystem("shoal", **settings)  # type: ignore[no-untyped-call]
    assert (
        system.cat_file(name, 0, 1) == data[:1]
    )  # which also fetches the page of hashes
    shared.close()
    assert not origin.asked
    assert (
        system.cat_file(name, 40 * CHUNK, 41 * CHUNK) == data[40 * CHUNK : 41 * CHUNK]
    )
    assert len(origin.asked) < 16


@pytest.mark.parametrize("use_hints", [False, True])
def test_an_origin_in_a_link_is_used_only_with_use_hints(
    use_hints: bool, origin: WebOrigin, make_file: MakeFile, share_it: Share
) -> None:
    path = make_file(4 * CHUNK, 1)
    data = origin.files["f"] = path.read_bytes()
    shared = share_it(path, chunk_size=CHUNK)
    url = f"{shared.link}?origin={quote_origin(origin.url + 'f')}/{path.name}"
    url = url.replace("shoal:", "shoal://")
    settings = {"use_hints": use_hints, "timeout": 1, **near(shared)}
    system, name = fsspec.url_to_fs(url, **settings)  # type: ignore[no-untyped-call]
    assert system.cat_file(name, 0, 1) == data[:1]
    shared.close()
    if use_hints:
        assert system.cat_file(name) == data
    else:
        with pytest.raises(NotFoundError):
            system.cat_file(name)
        assert not origin.asked
