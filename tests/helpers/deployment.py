"""What those need who run shoal as a service manager would."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.requirements import require

__all__ = ["PATH", "ROOT", "environment", "make_model", "need", "same", "sharing_model"]

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


def need(program: str) -> str:
    """Return where a program is, or skip the test, which CI takes for a failure."""
    found = shutil.which(program)
    require(None if found else f"{program} is not installed")
    return found or ""


def make_model(folder: Path) -> Path:
    """Make a folder that stands for a model."""
    model = folder / "srv/model"
    model.mkdir(parents=True)
    (model / "weights.bin").write_bytes(os.urandom(2_000_000))
    (model / "config.json").write_text("{}\n")
    return model


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a service manager gives: nearly nothing."""
    return {
        "PATH": PATH,
        "XDG_DATA_HOME": str(home),
        "SHOAL_LAN_ONLY": "1",
        "SHOAL_UVLOOP": "0",
        **more,
    }


def same(one: Path, other: Path) -> bool:
    """Say whether two folders have the same files."""
    names, others = (
        {path.relative_to(top) for path in top.rglob("*") if path.is_file()}
        for top in (one, other)
    )
    return names == others and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


@contextmanager
def sharing_model(namespace: Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """Share a folder in a namespace; give it and its link."""
    model = make_model(folder)
    words = ["shoal", "share", str(model)]
    env = environment(folder / "source")
    with Program(words, namespace=namespace, env=env) as program:
        yield model, program.wait_line(r"^shoal:\S+$", stream="out")[0]
