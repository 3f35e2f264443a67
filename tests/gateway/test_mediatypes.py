"""A file's media type depends on its extension only."""

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
def test_the_extension_selects_the_media_type(path: str, name: str) -> None:
    assert media_type(path).name == name


def test_no_type_that_can_run_scripts_is_passive() -> None:
    for ending in ("html", "htm", "xhtml", "svg", "xml", "js", "mjs", "css", "pdf"):
        assert not media_type(f"a.{ending}").is_passive
    for ending in ("mhtml", "swf", "hta", "php", "wasm", "xsl", "exe", "unknown"):
        assert not media_type(f"a.{ending}").is_passive


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_content_disposition_is_printable_ascii(name: str) -> None:
    value = disposition(name)
    assert value.isascii()
    assert value.isprintable()
    assert not set(value.partition("''")[2]) & set("\"\\;,'/ ")


def test_a_name_that_hides_is_saved_under_another() -> None:
    names = [".bashrc", "-rf", "a/.ssh", "a.b"]
    saved = [disposition(name).partition("''")[2] for name in names]
    assert saved == ["_.bashrc", "_-rf", "_.ssh", "a.b"]
