"""Measure the structure of the code: how much a new reader must keep in mind.

Run it as `scripts/check --report`. It parses the modules of a folder (default
`src/shoal`) and prints each figure with its goal. docs/design.md explains the goals.
"""

import ast
import re
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path


class Tree:
    """All modules of a package, with their syntax trees and imports."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.files = sorted(source.rglob("*.py"))
        self.asts = {
            self._name(path): ast.parse(path.read_text()) for path in self.files
        }
        self.lines = {
            self._name(path): path.read_text().count("\n") for path in self.files
        }

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.source.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self, module: str) -> set[str]:
        """Return the modules of the package that importing `module` imports at once."""
        nodes = _run_on_import(self.asts[module])
        found: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                found.update(
                    name if name in self.asts else node.module for name in inner
                )
        return (found & self.asts.keys()) - {module}


def _run_on_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module that run when it is imported."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With):
            pending += [
                n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)
            ]
        else:
            yield node


def longest_chain(tree: Tree) -> list[str]:
    """Return the longest chain of top-level imports, importer first."""

    @cache
    def chain(module: str) -> tuple[str, ...]:
        longest: tuple[str, ...] = ()
        for name in sorted(tree.imports(module)):
            below: tuple[str, ...] = chain(name)
            if len(below) > len(longest):
                longest = below
        return (module, *longest)

    return max((list(chain(name)) for name in tree.asts), key=len)


def lone_modules(tree: Tree) -> list[str]:
    """Return the modules that exactly one other module imports."""
    importers: dict[str, set[str]] = {}
    for module in tree.asts:
        for other in tree.imports(module):
            importers.setdefault(other, set()).add(module)
    return sorted(name for name, them in importers.items() if len(them) == 1)


def functions(
    tree: Tree,
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function of the package, each with its module."""
    for module, body in tree.asts.items():
        for node in ast.walk(body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


class Forwards:
    """Find methods that only call a method of the same name on an attribute."""

    def __init__(self, tree: Tree) -> None:
        self._classes = {
            node.name: node
            for body in tree.asts.values()
            for node in ast.walk(body)
            if isinstance(node, ast.ClassDef)
        }

    def longest(self) -> list[str]:
        """Return the longest chain as `Class.method`, including the last method."""
        chains = (
            self._chain(owner, method.name, ())
            for owner, node in self._classes.items()
            for method in _methods(node)
        )
        return max(chains, key=len)

    def _chain(self, owner: str, name: str, way: tuple[str, ...]) -> list[str]:
        here = [f"{owner}.{name}"]
        method = {m.name: m for m in _methods(self._classes[owner])}.get(name)
        if method is None or owner in way:
            return here
        attribute = _passed_to(method)
        if attribute is None:
            return here
        kinds = self._kinds(owner, attribute)
        return here + max(
            (self._chain(kind, name, (*way, owner)) for kind in sorted(kinds)),
            key=len,
            default=["?"],
        )

    def _kinds(self, owner: str, attribute: str) -> set[str]:
        """Return the classes that an attribute may hold, by its annotation."""
        found: set[str] = set()
        init = {m.name: m for m in _methods(self._classes[owner])}.get("__init__")
        texts = (
            {
                a.arg: ast.unparse(a.annotation)
                for a in (*init.args.args, *init.args.kwonlyargs)
                if a.annotation is not None
            }
            if init
            else {}
        )
        for node in ast.walk(self._classes[owner]):
            if isinstance(node, ast.AnnAssign) and _is_self(node.target, attribute):
                found |= self._named_in(ast.unparse(node.annotation))
            elif isinstance(node, ast.Assign) and _is_self(node.targets[0], attribute):
                text = ast.unparse(node.value)
                found |= self._named_in(texts.get(text, text.split("(")[0]))
        return found

    def _named_in(self, text: str) -> set[str]:
        return set(re.findall(r"[A-Za-z_]+", text)) & self._classes.keys()


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [each for each in node.body if isinstance(each, kinds)]


def _is_self(node: ast.expr, attribute: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == attribute


def _passed_to(method: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Return the attribute that a one-statement method forwards its call to."""
    body = method.body[1:] if ast.get_docstring(method) is not None else method.body
    while len(body) == 1 and isinstance(body[0], ast.If) and not body[0].orelse:
        body = body[0].body
    if len(body) != 1 or not isinstance(body[0], ast.Expr | ast.Return):
        return None
    for call in ast.walk(body[0]):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if call.func.attr == method.name and isinstance(owner, ast.Attribute):
                return owner.attr
    return None


def is_annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return True if a function states the type of each parameter and its result."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    extra = [each for each in (arguments.vararg, arguments.kwarg) if each]
    typed = all(a.annotation for a in [*named, *extra] if a.arg not in ("self", "cls"))
    return typed and (function.returns is not None)


def report(source: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the value and the goal of each figure."""
    tree = Tree(source)
    chain = longest_chain(tree)
    yield "longest import chain", f"{len(chain)} ({' > '.join(chain)})", "12"
    flat = {p.stem for p in source.glob("*.py")}
    yield "flat modules at the top", f"{len(flat)} ({' '.join(sorted(flat))})", "4"
    lone = lone_modules(tree)
    yield "modules with one importer", f"{len(lone)} ({' '.join(lone)})", "35"
    passed = Forwards(tree).longest()
    yield "forwards of one name", f"{len(passed) - 1} ({' > '.join(passed)})", "2"
    sizes = sorted(n for name, n in tree.lines.items())
    yield (
        "lines in a file",
        f"median {statistics.median(sizes):.0f}, most {sizes[-1]}",
        "150, 400",
    )
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for _, node in functions(tree)
    )
    p90 = lengths[int(len(lengths) * 0.9)]
    yield "lines in a function", f"p90 {p90}, most {lengths[-1]}", "30, 60"
    every = [node for _, node in functions(tree)]
    share = sum(map(is_annotated, every)) / len(every)
    yield "functions annotated", f"{100 * share:.1f} %", "100 %"
    yield "files", str(len(tree.files)), ""
    yield "lines in all", str(sum(sizes)), ""


def main() -> None:
    """Print the report for the given folder or src/shoal."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "src/shoal")
    for name, value, goal in report(source):
        print(f"{name:28} {value}" + (f"  (goal {goal})" if goal else ""))


if __name__ == "__main__":
    main()
