"""Take a fix out of shoal, to see whether the simulator finds the fault again.

A fix is named in `tests/simulator/fixes.py` with the lines of code that it consists of.
Without it, these lines are others, and the rest of shoal is as it is. Code that is no
longer found raises an error, so no fix is tested that shoal does not have any more.
"""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, NamedTuple

__all__ = ["Edit", "Fix", "StaleEditError", "take_out"]


class StaleEditError(Exception):
    """The code of shoal has changed, so a fix cannot be taken out as it is noted."""


class Edit(NamedTuple):
    """Replace some lines of one function."""

    function: str
    """As `shoal.core.bans:Bans.may_try`."""
    old: str
    """Code that the function has once, without the indentation of the function."""
    new: str
    """What it has instead."""


@dataclass(frozen=True)
class Fix:
    """One fix, and how it is taken out."""

    name: str
    what: str
    """What holds with it."""
    edits: tuple[Edit, ...]
    """Applied one after the other; two may change one function."""


def take_out(fix: Fix) -> Callable[[], None]:
    """Change the functions of a fix, wherever they have been imported.

    Returns a function that puts the fix back. Raises `StaleEditError`.
    """
    before: list[tuple[FunctionType, CodeType]] = []

    def put_back() -> None:
        for function, code in reversed(before):
            function.__code__ = code

    try:
        for edit in fix.edits:
            function = _find(edit.function)
            before.append((function, function.__code__))
            function.__code__ = _edited(function, edit)
    except BaseException:
        put_back()
        raise
    return put_back


def _find(path: str) -> FunctionType:
    """Return a function of shoal; that of a property or a decorated one, too."""
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise StaleEditError(f"{module} does not exist any more") from error
    for name in names.split("."):
        found = inspect.getattr_static(found, name, None)
    if isinstance(found, property):
        found = found.fget
    found = inspect.unwrap(found) if callable(found) else found
    if not isinstance(found, FunctionType):
        raise StaleEditError(f"{path} is no function any more")
    return found


def _edited(function: FunctionType, edit: Edit) -> CodeType:
    """Return the code of a function after an edit of its source."""
    source = _sources.get(function.__code__)
    if source is None:
        source = textwrap.dedent(inspect.getsource(function))
    if source.count(edit.old) != 1:
        raise StaleEditError(
            f"{edit.function} has {edit.old!r} {source.count(edit.old)} times; "
            "correct the fix in tests/simulator/fixes.py"
        )
    source = source.replace(edit.old, edit.new)
    tree = ast.parse(source)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    definition.decorator_list = []
    compiled = compile(tree, f"<{edit.function} without a fix>", "exec")
    codes = [each for each in compiled.co_consts if isinstance(each, CodeType)]
    code = next(each for each in codes if each.co_name == function.__name__)
    _sources[code] = source
    return code


_sources: dict[CodeType, str] = {}
"""The source of code that an edit has made, for the next edit of the function."""
