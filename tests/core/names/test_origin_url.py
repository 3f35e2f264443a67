"""Check which URLs may be an origin, its name, and the URLs of its files."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.origin_url import (
    MAX_ORIGIN_LENGTH,
    MAX_ORIGINS,
    file_url,
    is_web,
    origin_name,
    parse_origin,
    parse_origins,
    quote_origin,
    split_origins,
    unquote_origin,
)
from shoal.errors import UsageError

# Components of the paths of a share.
paths = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1),
    min_size=1,
    max_size=4,
).map("/".join)


@pytest.mark.parametrize(
    "url",
    [
        "http://host/file",
        "https://user:secret@host:8443/folder/?sig=a%2Fb&x=1",
        "https://host",
        "http://[::1]:80/a",
        "s3://bucket/key",
        "gs://bucket/folder/",
        "file:///srv/model/",
        "s3://bucket/a folder/with  spaces & more/",
        "http://host/a b?c d",
        "https://h\u00f6st/p\u00e4th",
    ],
)
def test_a_url_is_an_origin_and_survives_a_link(url: str) -> None:
    assert parse_origin(f" {url}\n") == url
    quoted = quote_origin(url)
    assert not set(quoted) & set("&?=/ #:")
    assert unquote_origin(quoted) == url


def test_a_scheme_may_have_capitals() -> None:
    assert parse_origin("HTTPS://host/A") == "https://host/A"
    assert is_web(parse_origin("HTTP://host/A"))
    assert not is_web("s3://bucket/A")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host/file",
        "/srv/model",
        "http:/host",
        "http://",
        "http:///path",
        "http://host:0/",
        "http://host:99999/",
        "http://host:port/",
        "http://[::1/",
        "s3://[bucket/key",
        "http://host/#part",
        "http://host /b",
        "http:// host/b",
        "http://host/a\x1bb",
        "http://host/a\u202eb",
        "simplecache::s3://bucket/key",
        "shoal://abc",
        "://host",
        "http://host/" + "a" * MAX_ORIGIN_LENGTH,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_origin(text)


@pytest.mark.parametrize(
    "text", ["secret", "http://secret@h /?secret", "http://h#secret"]
)
def test_an_error_does_not_repeat_the_url(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_origin(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["%ff", "http%3A%2F%2F", "%2e" * 2000, "x"])
def test_an_invalid_origin_in_a_link_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        unquote_origin(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("webdav://host/a", "http://host/a"),
        ("DAV://host/a", "http://host/a"),
        ("davs://host/a", "https://host/a"),
        ("webdavs://host/a", "https://host/a"),
    ],
)
def test_webdav_is_read_as_http(text: str, url: str) -> None:
    assert parse_origin(text) == url


def test_a_text_with_several_urls_is_split_between_them() -> None:
    assert split_origins(" s3://b/a b/ \n http://h/c d  gs://e ") == [
        "s3://b/a b/",
        "http://h/c d",
        "gs://e",
    ]
    assert split_origins(" ") == []


def test_the_number_of_origins_is_limited() -> None:
    urls = [f"http://host/{n}" for n in range(MAX_ORIGINS)]
    assert parse_origins(" ".join(urls)) == parse_origins(urls) == tuple(urls)
    with pytest.raises(UsageError, match="remove some"):
        parse_origins([*urls, "http://host/more"])


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:secret@host:8443/private/?sig=secret", "https://host:8443"),
        ("s3://bucket/secret/key", "s3://bucket"),
        ("file:///srv/secret", "file://"),
    ],
)
def test_the_name_of_an_origin_has_no_secret(url: str, name: str) -> None:
    assert origin_name(url) == name


@pytest.mark.parametrize(
    ("url", "path", "where"),
    [
        ("http://h/f.bin", "", "http://h/f.bin"),
        ("http://h/f%20g.bin?sig=a%2Bb", "", "http://h/f%20g.bin?sig=a%2Bb"),
        ("http://h/d/", "", "http://h/d/na%20me"),
        ("http://h", "", "http://h/na%20me"),
        ("http://h/d", "a/b.txt", "http://h/d/a/b.txt"),
        ("http://h/d/?sig=1", "a ?#%/\u00fc", "http://h/d/a%20%3F%23%25/%C3%BC?sig=1"),
        ("http://h/d/", "a!$&'()*+,;=:@~-._", "http://h/d/a!$&'()*+,;=:@~-._"),
        (
            "http://h/d/",
            'a"<>[]^`{|}\\',
            "http://h/d/a%22%3C%3E%5B%5D%5E%60%7B%7C%7D%5C",
        ),
        ("http://h/a b\u00fc%20+?c d%7e+", "", "http://h/a%20b%C3%BC%20+?c%20d%7e+"),
        ("s3://b/d", "a b/\u00fc", "s3://b/d/a b/\u00fc"),
        ("b/d/", "", "b/d/na me"),
        ("b/key", "", "b/key"),
    ],
)
def test_the_url_of_a_file(url: str, path: str, where: str) -> None:
    assert file_url(url, path, "na me") == where


@given(paths)
def test_no_path_of_a_share_leads_to_another_host_or_folder(path: str) -> None:
    split = urlsplit(file_url("https://host/base/?q=1", path, "name"))
    assert split[:2] == ("https", "host")
    assert unquote(split.path) == "/base/" + path
    assert (split.query, split.fragment) == ("q=1", "")
