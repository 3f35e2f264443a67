"""Check that the core is pure: it cannot use a socket, a file, a clock or a thread.

import-linter checks which package may import which; see pyproject.toml.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal.core

CORE = Path(shoal.core.__file__).parent
MODULES = sorted(CORE.rglob("*.py"))

IMPURE = {
    *("asyncio", "concurrent", "datetime", "multiprocessing", "os", "pathlib"),
    *("queue", "random", "secrets", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "sys", "tempfile", "threading", "time"),
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield everything that a module imports, as (module, name or "")."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(CORE)))
def test_the_core_only_computes(path: Path) -> None:
    for name, member in imports(path):
        if (name, member) != ("random", "Random"):
            assert name.split(".")[0] not in IMPURE, f"{path} imports {name}"


def test_the_imports_of_each_module_are_read() -> None:
    assert ("re", "") in set(imports(CORE / "names" / "channel_id.py"))
    assert len(MODULES) > 20
