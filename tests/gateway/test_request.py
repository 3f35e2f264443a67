"""A request's path is parsed exactly or refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.gateway.request import MAX_PATH, parse_target, quoted

NAME = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1
).filter(lambda name: name not in (".", ".."))


@given(st.lists(NAME, min_size=1), st.booleans())
def test_a_quoted_path_is_parsed_back_to_its_names(
    names: list[str], folder: bool
) -> None:
    path = "/".join(names)
    if len(quoted(path)) < MAX_PATH - 10:
        found = parse_target(f"/{quoted(path)}{'/' if folder else ''}?a=b/../c")
        assert found.names == (*names, *([""] if folder else []))
        assert found.authority is None


@given(st.text(alphabet=string.printable, max_size=40))
def test_no_parsed_name_is_empty_relative_or_has_a_separator(text: str) -> None:
    try:
        names = parse_target("/" + text).names
    except ValueError:
        return
    assert not {".", ".."} & set(names)
    assert "" not in names[:-1]
    assert not set("/\\\0\r\n") & set("".join(names))


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://127.0.0.1:80/a", "127.0.0.1:80"),
        ("HTTP://evil.example", "evil.example"),
        ("http://a@b/a", "a@b"),
        ("http:///a", ""),
    ],
)
def test_a_target_in_absolute_form_has_an_authority(text: str, authority: str) -> None:
    assert parse_target(text).authority == authority


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "a", "?a", "127.0.0.1:80", "https://a/b", "ftp://a/b"),
        *("//", "//a", "/a//b", "/a//", "/..", "/.", "/a/../b", "/%2e%2E", "/.%2e/a"),
        *("/%2f", "/a%5Cb", "/a\\b", "/%00", "/\0", "/%0a", "/%7f", "/a b", "/%"),
        *("/%2", "/%g0", "/%ff", "/%c0%ae", "/%ed%a0%80", "/#a", "/a#"),
        "/" + "a" * MAX_PATH,
    ],
)
def test_a_malformed_or_ambiguous_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it "):
        parse_target(text)
