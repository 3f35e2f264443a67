"""Compile the simulation and `shoal.core` with mypyc and run it several times faster.

A copy of the source files is compiled in a temporary folder. The outcome is the same,
except for the processor time. This requires a C compiler.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["run_compiled"]

ROOT = Path(__file__).parent.parent.parent
CORE = (
    "manifest/chunks",
    "schedule/announcements",
    "schedule/buckets",
    "schedule/origin_requests",
    "schedule/picker",
    "schedule/rarest",
    "schedule/scheduler",
    "schedule/turns",
    "schedule/window",
    "session/request_queue",
)
OURS = ("clock", "crowd", "network", "node")
_SETUP = """
from setuptools import setup
from mypyc.build import mypycify
setup(packages=[], ext_modules=mypycify({arguments!r}, opt_level="3"))
"""


def run_compiled(words: list[str]) -> int:
    """Run `benchmarks.simulate` with these arguments in a compiled copy."""
    with TemporaryDirectory() as folder:
        _build(Path(folder))
        command = [sys.executable, "-m", "benchmarks.simulate", *words]
        environment = {**os.environ, "PYTHONPATH": folder}
        return subprocess.run(command, env=environment, check=False).returncode


def _build(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "src" / "shoal", folder / "shoal", ignore=ignore)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=ignore)
    _move_bitfield(folder / "shoal" / "core")
    modules = [f"shoal/core/{name}.py" for name in CORE]
    modules += [f"benchmarks/simulation/{name}.py" for name in OURS]
    arguments = ["--follow-imports=silent", *modules]
    (folder / "setup.py").write_text(_SETUP.format(arguments=arguments))
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _move_bitfield(core: Path) -> None:
    """Move `Bitfield` to a separate file: mypyc cannot compile its neighbour's base."""
    path = core / "manifest" / "chunks.py"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    body = ast.parse(text).body
    found = next(
        node
        for node in body
        if isinstance(node, ast.ClassDef) and node.name == "Bitfield"
    )
    before, after = lines[: found.lineno - 1], lines[found.end_lineno :]
    imports = [
        ast.unparse(node)
        for node in body
        if isinstance(node, ast.ImportFrom) and node.module == "collections.abc"
    ]
    head = "\n".join(imports) + "\n\n\n"
    own = lines[found.lineno - 1 : found.end_lineno]
    (core / "manifest" / "bitfield.py").write_text(
        head + "".join(own), encoding="utf-8"
    )
    link = "from shoal.core.manifest.bitfield import Bitfield\n"
    path.write_text("".join([*before, link, *after]), encoding="utf-8")
