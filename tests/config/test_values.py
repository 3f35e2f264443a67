"""`config.toml`: it counts less than a variable, and is refused as a whole."""

import os
import sys
from pathlib import Path

import platformdirs
import pytest

from shoal.config.arguments import FetchOptions, ShareOptions
from shoal.config.file import config_path, read_file
from shoal.config.options import OPTIONS, Option
from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.errors import ForbiddenError, UsageError

ALL = """
lan-only = true
no-lan = false
port = 4001
peer = ["127.0.0.1:1", "127.0.0.1:2"]
dht-bootstrap = "192.0.2.7:6881"
interfaces = ["lo"]
limit-up = "10M"
limit-down = 512
timeout = 2.5
include = ["a b", "{c,d}"]
exclude = "*.tmp"
keep-exec = true
seed = true
folder = "downloads"
name = "model"
chunk-size = "64K"
public = true
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [each for each in os.environ if each.startswith("SHOAL_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("SHOAL_CONFIG", str(path))
    path.write_text(ALL)
    return path


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_value_of_another_type_is_refused_with_how_to_write_it(
    option: Option,
) -> None:
    with pytest.raises(ValueError, match="true or false|quotes"):
        option.kind.read_toml([0])


@pytest.mark.usefixtures("file")
def test_the_python_api_obeys_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.of() == Settings(
        peers=(Address("127.0.0.1", 1), Address("127.0.0.1", 2)),
        port=4001,
        lan_only=True,
        dht_bootstrap=(Address("192.0.2.7", 6881),),
        limit_up=10 << 20,
        limit_down=512,
        interfaces=("lo",),
        timeout=2.5,
    )
    monkeypatch.setenv("SHOAL_EXCLUDE", "*.a *.b")
    fetch = FetchOptions.of()
    assert (fetch.include, fetch.exclude) == (("a b", "{c,d}"), ("*.a", "*.b"))
    assert (fetch.keep_exec, fetch.seed, fetch.overwrite) == (True, True, False)
    assert fetch.folder == Path("downloads")
    share = ShareOptions.of()
    assert (share.name, share.chunk_size, share.public) == ("model", 64 << 10, True)


@pytest.mark.usefixtures("file")
def test_a_keyword_counts_most_then_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOAL_LIMIT_UP", "20M")
    monkeypatch.setenv("SHOAL_LAN_ONLY", "0")
    monkeypatch.setenv("SHOAL_PORT", "")  # the same as not set
    monkeypatch.setenv("SHOAL_SEED", "0")
    settings = Settings.of(limit_down=7)
    assert (settings.limit_up, settings.limit_down) == (20 << 20, 7)
    assert (settings.lan_only, settings.port) == (False, 4001)
    assert (FetchOptions.of().seed, FetchOptions.of(seed=True).seed) == (False, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lan_only = true", "no key 'lan_only'; did you mean lan-only?"),
        ("frobnicate = 1", "no key 'frobnicate'; leave it out."),
        ("lan-only = 1", "lan-only: write true or false"),
        ("limit-up = 'fast'", "limit-up: 'fast' is not a size"),
        ("limit-up = true", "limit-up: write a number"),
        ("limit-up = 0", "limit-up: A rate of 0"),
        ("port = 65536", "port: '65536' is not a port"),
        ("timeout = -1", "timeout: '-1' is not a length of time"),
        ("peer = [1]", "peer: write a list of texts"),
        ("peer = ['nowhere']", "peer: 'nowhere' is not an address"),
        ("color = 'red'", "color: 'red' is not auto, always or never"),
        ("name = 1", "name: write a text"),
        ("[peer]\nport = 1", "peer: write a list of texts"),
        ("port = ", "is not TOML"),
        ("port = " + "[" * 100_000, "nested too deeply"),
        ("\ud800", "is not TOML"),
        ("#" * (1 << 20), "larger than 1.0 MiB"),
    ],
)
def test_an_error_names_the_file_and_the_key(
    text: str, message: str, file: Path
) -> None:
    file.write_bytes(text.encode(errors="surrogatepass") + b"\n")
    for read in (read_file, Settings.of, FetchOptions.of, ShareOptions.of):
        with pytest.raises(UsageError) as caught:
            read()
        assert str(file) in str(caught.value)
        assert message in str(caught.value)


def test_a_missing_file_is_an_error_only_if_shoal_config_names_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unlink()
    with pytest.raises(UsageError, match="SHOAL_CONFIG"):
        read_file()
    monkeypatch.setenv("SHOAL_CONFIG", str(file.parent))
    with pytest.raises(ForbiddenError, match="cannot be read"):
        read_file()
    monkeypatch.delenv("SHOAL_CONFIG")
    assert read_file() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems use platformdirs")
@pytest.mark.parametrize("home", ["/a b", "", " ", None])
def test_the_path_is_the_one_of_platformdirs(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if home is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", home)
    assert config_path() == str(
        platformdirs.user_config_path("shoal", appauthor=False) / "config.toml"
    )
