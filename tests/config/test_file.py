"""`config.toml`: below a variable, above the default, and never obeyed in part."""

import os
import sys
from pathlib import Path

import click
import platformdirs
import pytest

from shoal.cli import cli
from shoal.cli.options import key_of
from shoal.config.file import KEYS, Defaults, config_path, read_file, variable_of
from shoal.config.options import FetchOptions, ShareOptions
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


def _options() -> list[tuple[str, click.Option]]:
    context = click.Context(cli)
    return [
        (name, each)
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
        for each in command.params
        if isinstance(each, click.Option) and each.expose_value
    ]


@pytest.mark.parametrize(("command", "option"), _options())
def test_every_option_has_a_variable_and_a_key(
    command: str, option: click.Option
) -> None:
    key = key_of(option.opts)
    assert key in KEYS, f"{command} --{key}"
    assert option.envvar == variable_of(key)
    with pytest.raises(ValueError, match="true or false|quotes|auto"):
        KEYS[key]([0])
    if option.is_flag:
        assert KEYS[key](True) == "1"


def test_every_key_is_an_option_of_some_command() -> None:
    assert set(KEYS) - {key_of(o.opts) for _, o in _options()} == {"interfaces"}


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
def test_what_is_given_counts_most_then_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOAL_LIMIT_UP", "20M")
    monkeypatch.setenv("SHOAL_LAN_ONLY", "0")
    monkeypatch.setenv("SHOAL_PORT", "")  # as good as not set
    monkeypatch.setenv("SHOAL_SEED", "0")
    settings = Settings.of(limit_down=7)
    assert (settings.limit_up, settings.limit_down) == (20 << 20, 7)
    assert (settings.lan_only, settings.port) == (False, 4001)
    assert (FetchOptions.of().seed, FetchOptions.of(seed=True).seed) == (False, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lan_only = true", "no key 'lan_only'; did you mean lan-only?"),
        ("frobnicate = 1", "no key 'frobnicate'; leave it out."),
        ("lan-only = 1", "lan-only: write true or false"),
        ("limit-up = 'fast'", "limit-up: 'fast' is not a size"),
        ("limit-up = true", "limit-up: write a number"),
        ("limit-up = 0", "limit-up: A rate of 0"),
        ("port = 65536", "port: '65536' is not a port"),
        ("timeout = -1", "timeout: '-1' is not a number of seconds"),
        ("peer = [1]", "peer: write a list of texts"),
        ("peer = ['nowhere']", "peer: 'nowhere' is not an address"),
        ("color = 'red'", 'color: write "auto"'),
        ("name = 1", "name: write a text"),
        ("[peer]\nport = 1", "peer: write a list of texts"),
        ("port = ", "is not TOML"),
        ("\ud800", "is not TOML"),
        ("#" * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_key(
    text: str, said: str, file: Path
) -> None:
    file.write_bytes(text.encode(errors="surrogatepass") + b"\n")
    for read in (read_file, Settings.of, FetchOptions.of, ShareOptions.of):
        with pytest.raises(UsageError) as caught:
            read()
        assert str(file) in str(caught.value)
        assert said in str(caught.value)


def test_no_file_is_fine_unless_it_was_named(
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


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is made by hand")
@pytest.mark.parametrize("home", ["/a b", "", " ", None])
def test_it_lies_where_platformdirs_has_it(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if home is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", home)
    assert config_path() == str(
        platformdirs.user_config_path("shoal", appauthor=False) / "config.toml"
    )


def test_a_variable_that_cannot_be_read_is_named() -> None:
    known = Defaults({"SHOAL_SEED": "perhaps", "SHOAL_CHUNK_SIZE": "big"}, {})
    with pytest.raises(UsageError, match="SHOAL_SEED"):
        known.flag("seed")
    with pytest.raises(UsageError, match="SHOAL_CHUNK_SIZE"):
        known.read("chunk-size", int)
