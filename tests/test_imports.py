"""Imports stay cheap: a name or command loads only the packages that it needs."""

import sys
from pathlib import Path

import pytest

import shoal
from tests.helpers.process import capture

_SHOW = "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def _loaded(code: str) -> set[str]:
    """Run some Python without `site`'s extras; return the packages it loaded."""
    done = capture([sys.executable, "-c", code + _SHOW], check=True)
    return set(done.stdout.splitlines()[-1].split())


BARE = _loaded("pass")
THIRD_PARTY = {"click", "rich", "msgspec", "dnslib", "ifaddr"}


def test_import_shoal_loads_no_other_package() -> None:
    loaded = _loaded("import shoal") - BARE
    assert loaded == {"shoal"}
    # A package that Python itself loads would go unnoticed.
    assert not BARE & {"asyncio", *THIRD_PARTY}


@pytest.mark.parametrize("name", dir(shoal))
def test_each_public_name_loads_no_heavy_package(name: str) -> None:
    loaded = _loaded(f"import shoal; shoal.{name}; shoal.__dir__()") - BARE
    assert not loaded & {
        *("click", "rich", "cryptography", "fsspec", "aiohttp", "spake2")
    }


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["nosuch"]])
def test_the_bare_command_line_loads_only_click(
    words: list[str],
) -> None:
    loaded = _loaded(f"from shoal.cli import run; run({words!r})") - BARE
    assert "click" in loaded
    assert not loaded & {"asyncio", "socket", "ssl", "json", *THIRD_PARTY - {"click"}}


def test_the_pake_is_loaded_only_for_codes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    network = ("--timeout", "0.1", "--lan-only", "--no-lan")
    link, code = f"shoal:{'a' * 51}docl5", "4821-purity-carbon-olympic"
    for words, has_pake in ((link, False), (code, True)):
        run = f"run({['get', words, '-o', str(tmp_path / 'out'), *network]!r})"
        loaded = _loaded(f"from shoal.cli import run; {run}") - BARE
        assert "cryptography" in loaded
        assert ("spake2" in loaded) is has_pake


def test_shoal_chunk_loads_neither_a_progress_bar_nor_the_dht() -> None:
    words = ["chunk", "0" * 64, "0", "--timeout", "0.1", "--lan-only", "--no-lan"]
    loaded = _loaded(f"from shoal.cli import run; run({words!r})") - BARE
    assert "asyncio" in loaded
    assert not loaded & {"rich", "dnslib", "cryptography", "json", "tomllib", "difflib"}
    assert not loaded & {"ipaddress", "queue"}


def test_the_command_imports_no_module_from_the_current_folder(tmp_path: Path) -> None:
    for name in ("asyncio", "click", "ssl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    words = ["chunk", "0" * 64, "0", "--timeout", "0.1", "--lan-only", "--no-lan"]
    done = capture([sys.executable, "-m", "shoal", *words], cwd=tmp_path)
    assert done.returncode == 3, done.stderr
