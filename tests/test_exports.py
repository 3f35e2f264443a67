"""Every module and public name exists and has a docstring."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import shoal

SOURCE = Path(shoal.__file__).parent


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in sorted(SOURCE.rglob("*.py"))}
NAMED = [name for name in MODULES if name not in ("", "__main__")]
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def _public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Yield every public class, function and method with its name."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{prefix}{node.name}.")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_docstring(module: str) -> None:
    docstring = ast.get_docstring(_tree(module))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 88


@pytest.mark.parametrize("module", NAMED)
def test_all_lists_existing_names_in_order(module: str) -> None:
    loaded = importlib.import_module(f"shoal.{module}")
    names = getattr(loaded, "__all__", None)
    is_empty = not [n for n in _tree(module).body if not isinstance(n, ast.Expr)]
    assert names is not None or is_empty
    for name in names or ():
        assert hasattr(loaded, name), f"{module}.__all__ names {name}"
    assert list(names or ()) == sorted(set(names or ()), key=_sort_key)


def _sort_key(name: str) -> tuple[int, str]:
    """Sort as ruff does: constants, classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", NAMED)
def test_every_public_name_has_a_docstring(module: str) -> None:
    undocumented = [
        name
        for name, node in _public(_tree(module).body)
        if not ast.get_docstring(node) and not _is_described_elsewhere(node)
    ]
    assert undocumented == []


def _is_described_elsewhere(node: Definition) -> bool:
    """Return True for an overload, and for the setter of a property."""
    decorators = [ast.unparse(each) for each in node.decorator_list]
    return any("overload" in each or each.endswith(".setter") for each in decorators)


def test_every_public_name_of_shoal_is_defined_in_its_listed_module() -> None:
    assert dir(shoal) == vars(shoal)["__all__"]
    assert dir(shoal) == sorted(dir(shoal), key=_sort_key)
    assert set(shoal._MODULES) == set(dir(shoal)) - {"__version__"}
    for name, module in shoal._MODULES.items():
        defining = importlib.import_module(f"shoal.{module}")
        assert getattr(shoal, name) is getattr(defining, name)
        assert name in defining.__all__


def test_type_checkers_see_the_lazily_loaded_names() -> None:
    imported = {
        alias.name: (node.module or "").removeprefix("shoal.")
        for node in ast.walk(_tree(""))
        if isinstance(node, ast.ImportFrom) and node.module != "importlib"
        for alias in node.names
    }
    assert imported == shoal._MODULES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = shoal.nonsense


def test_the_version_has_three_numbers() -> None:
    assert shoal.__version__.count(".") == 2
