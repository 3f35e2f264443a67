"""`Settings` reads variables; a keyword counts more than its variable."""

import pytest

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.errors import UsageError

VARIABLES = {
    "SHOAL_PEER": "127.0.0.1:1, 127.0.0.1:2",
    "SHOAL_PORT": "4001",
    "SHOAL_LAN_ONLY": "yes",
    "SHOAL_NO_LAN": "0",
    "SHOAL_DHT_BOOTSTRAP": "192.0.2.7:6881",
    "SHOAL_LIMIT_UP": "10M",
    "SHOAL_LIMIT_DOWN": "512",
    "SHOAL_INTERFACES": "lo eth0",
    "SHOAL_TIMEOUT": "2m",
}
READ = Settings(
    peers=(Address("127.0.0.1", 1), Address("127.0.0.1", 2)),
    port=4001,
    lan_only=True,
    no_lan=False,
    dht_bootstrap=(Address("192.0.2.7", 6881),),
    limit_up=10 << 20,
    limit_down=512,
    interfaces=("lo", "eth0"),
    timeout=120.0,
)


def test_every_field_has_a_variable() -> None:
    assert Settings.from_environ(VARIABLES) == READ
    assert Settings.from_environ({}) == Settings()


def test_a_keyword_counts_more_than_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert Settings.of() == READ
    made = Settings.of(peers=["127.0.0.1:3"], limit_up=None, timeout=5, interfaces="lo")
    assert made.peers == (Address("127.0.0.1", 3),)
    assert (made.limit_up, made.timeout, made.interfaces) == (None, 5, ("lo",))
    assert made.port == 4001


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOAL_PORT", "65536"),
        ("SHOAL_LAN_ONLY", "maybe"),
        ("SHOAL_LIMIT_UP", "fast"),
        ("SHOAL_LIMIT_DOWN", "0"),
        ("SHOAL_TIMEOUT", "-1"),
        ("SHOAL_TIMEOUT", "nan"),
        ("SHOAL_PEER", "nowhere"),
        ("SHOAL_ORIGIN", "a://b c://d e://f g://h i://j"),
        ("SHOAL_ORIGIN", "htp://host.example/file"),
        ("SHOAL_ORIGIN", "https://host.example/file gopher://host.example/file"),
    ],
)
def test_an_invalid_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        Settings.from_environ({name: value})


@pytest.mark.parametrize(
    "url",
    ["https://h.example/f", "s3://bucket/f", "memory://f/g", "sftp://h.example/f"],
)
def test_an_origin_may_have_any_scheme_of_fsspec(url: str) -> None:
    assert Settings.from_environ({"SHOAL_ORIGIN": url}).origins == (url,)


@pytest.mark.parametrize("value", ["fast", "0", 0, -1.5, float("nan")])
def test_an_invalid_rate_is_refused_by_its_keyword(value: float | str) -> None:
    with pytest.raises(UsageError, match="^limit_up: "):
        Settings.of(limit_up=value)
