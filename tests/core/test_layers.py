"""Imports point only downwards; the core is pure. Proven over the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal

SOURCE = Path(shoal.__file__).parent

LEVELS = [
    {"errors", "netlink"},
    {"core"},
    {"values"},
    {"config"},
    {"goal", "interfaces", "options", "pages", "progress", "settings", "status"},
    {"storage", "transport", "discovery", "origin"},
    {
        "acquaintances",
        "contents",
        "hints",
        "making",
        "means",
        "networks",
        "target",
        "tree",
        "uploader",
        "vigil",
        "watching",
        "writer",
    },
    {"prompt", "sealed_port", "sealed_target", "transfer", "uploads"},
    {"sealed_peer", "services"},
    {"fetching", "giving", "learning", "query", "roster", "swarm"},
    {"pulling"},
    {"conversations"},
    {"sealed_swarm"},
    {"membership"},
    {"channels", "reading", "shares"},
    {"reader"},
    {"channel_node"},
    {"node"},
    {"background"},
    {"blockingfile"},
    {"blocking"},
    {"diagnosis", "fs", "gateway"},
    {"cli"},
    {"__main__"},
]
"""What may import what stands above it here, and not what stands beside it."""
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}

IMPURE = {
    *("asyncio", "concurrent", "datetime", "multiprocessing", "os", "pathlib"),
    *("queue", "random", "secrets", "select", "selectors", "signal", "socket"),
    *("ssl", "subprocess", "sys", "tempfile", "threading", "time"),
}


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(SOURCE.rglob("*.py"))}


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield all that a module imports anywhere: (module, name or "")."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from ((node.module or "", alias.name) for alias in node.names)


def _ours(module: str) -> set[str]:
    """Return our own modules that a module imports, without the `shoal.`."""
    found = set()
    for name, member in _imports(module):
        if name == "shoal" or name.startswith("shoal."):
            inner = name.removeprefix("shoal").removeprefix(".")
            submodule = f"{inner}.{member}".strip(".")
            found.add(submodule if submodule in MODULES else inner)
    return found


def _unit(module: str) -> str:
    return module.split(".")[0]


def test_the_table_of_levels_names_every_module_and_nothing_else() -> None:
    assert {_unit(name) for name in MODULES} - {""} == set(LEVEL)


@pytest.mark.parametrize("module", [m for m in MODULES if m])
def test_imports_point_only_downwards(module: str) -> None:
    here = _unit(module)
    for other in _ours(module):
        there = _unit(other)
        if there in (here, ""):
            continue
        assert LEVEL[there] < LEVEL[here], f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in MODULES if _unit(m) == "discovery"])
def test_one_network_does_not_know_another(module: str) -> None:
    networks = {"lan", "dht", "static"}
    mine = networks & set(module.split("."))
    for other in _ours(module):
        if other.startswith("discovery."):
            theirs = networks & {other.split(".")[1]}
            assert theirs <= mine, f"{module} imports {other}"


@pytest.mark.parametrize("module", [m for m in MODULES if _unit(m) == "core"])
def test_the_core_does_nothing_but_compute(module: str) -> None:
    for name, member in _imports(module):
        if (name, member) != ("random", "Random"):
            assert name.split(".")[0] not in IMPURE, f"{module} imports {name}"


@pytest.mark.parametrize("package", ["core", "storage", "transport", "discovery"])
def test_no_import_goes_round_in_a_circle(package: str) -> None:
    inside = {m: _ours(m) for m in MODULES if _unit(m) == package}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for other in sorted(inside[module] & inside.keys() - {module}):
                visit(other, (*way, module))
            done.add(module)

    for module in inside:
        visit(module, ())


def test_what_it_would_find_is_found() -> None:
    """Guard the guard: the trees are really read."""
    assert "core.framing" in _ours("core.session")
    assert ("re", "") in set(_imports("core.link"))
    assert len(MODULES) > 30
