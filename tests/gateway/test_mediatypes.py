"""What a file is said to be, whatever machine says it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.gateway.mediatypes import disposition, media_type


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b.MP4", "video/mp4"),
        ("a.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("a.png/b", "application/octet-stream"),
        ("a.", "application/octet-stream"),
    ],
)
def test_the_end_of_the_name_says_what_it_is(path: str, name: str) -> None:
    assert media_type(path).name == name


def test_nothing_that_runs_is_shown() -> None:
    for ending in ("html", "htm", "xhtml", "svg", "xml", "js", "mjs", "css", "pdf"):
        assert not media_type(f"a.{ending}").is_passive
    for ending in ("mhtml", "swf", "hta", "php", "wasm", "xsl", "exe", "unknown"):
        assert not media_type(f"a.{ending}").is_passive


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_name_in_a_header_is_plain_ascii(name: str) -> None:
    value = disposition(name)
    assert value.isascii()
    assert value.isprintable()
    assert not set(value.partition("''")[2]) & set("\"\\;,'/ ")
