"""Check that shoal decompresses nothing that a peer or server sent.

A few bytes that decompress into a gigabyte cannot harm a program that decompresses
nothing. This is proved over the syntax trees: no module uses a decompressor, and where
aiohttp is used, its decompression of bodies, which is on by default, is off.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal

SOURCE = Path(shoal.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

UNPACKERS = {
    *("bz2", "compression", "gzip", "lzma", "tarfile", "zipimport"),
    *("blosc", "brotli", "brotlicffi", "isal", "lz4", "pyzstd", "snappy"),
    *("zlib_ng", "zstandard", "zstd"),
}
"""Modules that decompress."""
FETCHERS = {"httpx", "requests", "urllib3", "websockets"}
"""Modules that decompress the responses of servers by default."""
HARMLESS = {
    "zlib": {"adler32", "crc32"},
    "zipfile": {"ZIP64_LIMIT", "ZipFile", "ZipInfo"},
}
"""Names of modules that decompress nothing, if each `ZipFile` is opened to write."""
MUST_BE_OFF = {
    "ClientSession": "auto_decompress",
    "AppRunner": "auto_decompress",
    "ServerRunner": "auto_decompress",
    "Server": "auto_decompress",
    "RequestHandler": "auto_decompress",
    "WebSocketResponse": "compress",
}
"""Names of aiohttp that decompress unless this argument is False."""
NAMELESS = {"run_app", "unpack_archive", "zlib_codec", "bz2_codec"}
"""Names that always decompress, or that shoal should not need."""


def problems(tree: ast.Module) -> Iterator[str]:
    """Yield everything in a module that could decompress."""
    has_aiohttp = any(name.split(".")[0] == "aiohttp" for name, _ in imports(tree))
    for name, member in imports(tree):
        package = name.split(".")[0]
        if package in UNPACKERS | FETCHERS:
            yield f"imports {name}"
        if member not in HARMLESS.get(package, {member}):
            yield f"imports {member or 'all'} of {package}"
    for node in ast.walk(tree):
        named = name_of(node)
        if named in NAMELESS:
            yield f"uses {named}"
        if isinstance(node, ast.Call):
            called = name_of(node.func)
            option = MUST_BE_OFF.get(called) if has_aiohttp else None
            if option and not is_off(node, option):
                yield f"calls {called} without {option}=False"
            if called == "ZipFile" and not writes(node):
                yield "opens an archive to read it"


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield every import, also those by a string, as (module, name or "")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            word = node.args[0]
            by_name = name_of(node.func) in ("import_module", "__import__")
            if by_name and isinstance(word, ast.Constant):
                yield str(word.value), ""


def name_of(node: ast.AST) -> str:
    """Return the last name in a node, or its text."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Constant(value=str() as text):
            return text
    return ""


def is_off(call: ast.Call, option: str) -> bool:
    """Return True if a call has the literal argument `option=False`."""
    return any(
        keyword.arg == option
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value is False
        for keyword in call.keywords
    )


def writes(call: ast.Call) -> bool:
    """Return True if the second argument of a call is the literal "w"."""
    mode = call.args[1] if len(call.args) > 1 else None
    return isinstance(mode, ast.Constant) and mode.value == "w"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_module_can_decompress_anything(path: Path) -> None:
    assert list(problems(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "bad",
    [
        "import gzip",
        "def f():\n    from bz2 import decompress",
        "import zlib",
        "from zlib import crc32, decompressobj",
        "import importlib\nimportlib.import_module('lzma')",
        "import compression.zstd",
        "import shutil\nshutil.unpack_archive('x')",
        "import codecs\ncodecs.decode(b'', 'zlib_codec')",
        "import zipfile",
        "from zipfile import ZipFile\nZipFile(f)",
        "from zipfile import ZipFile\nZipFile(f, 'a')",
        "import requests",
        "import aiohttp\naiohttp.ClientSession()",
        "import aiohttp\naiohttp.ClientSession(auto_decompress=True)",
        "from aiohttp import web\nweb.AppRunner(app)",
        "from aiohttp import web\nweb.WebSocketResponse()",
    ],
)
def test_code_that_decompresses_is_found(bad: str) -> None:
    """The check itself works."""
    assert list(problems(ast.parse(bad)))


@pytest.mark.parametrize(
    "good",
    [
        "from zlib import crc32",
        "from zipfile import ZipFile\nZipFile(f, 'w')",
        "import aiohttp\naiohttp.ClientSession(auto_decompress=False)",
        "from aiohttp import web\nweb.AppRunner(app, auto_decompress=False)",
        "class Server: ...\nServer()",
    ],
)
def test_code_that_decompresses_nothing_passes(good: str) -> None:
    assert not list(problems(ast.parse(good)))
