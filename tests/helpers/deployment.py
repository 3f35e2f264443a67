"""Run shoal as a service manager or container does."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.requirements import require

__all__ = [
    "PATH",
    "ROOT",
    "Instruction",
    "environment",
    "last_of",
    "make_model",
    "need",
    "read_dockerfile",
    "sharing_model",
]

ROOT = Path(__file__).parents[2]
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


def need(program: str) -> str:
    """Return the path of a program; skip the test without it, which fails in CI."""
    found = shutil.which(program)
    require(None if found else f"{program} is not installed")
    return found or ""


def make_model(folder: Path) -> Path:
    """Make a folder with two files, a stand-in for a model."""
    model = folder / "srv/model"
    model.mkdir(parents=True)
    (model / "weights.bin").write_bytes(os.urandom(2_000_000))
    (model / "config.json").write_text("{}\n")
    return model


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the nearly empty environment of a service manager."""
    return {
        "PATH": PATH,
        "XDG_DATA_HOME": str(home),
        "SHOAL_LAN_ONLY": "1",
        "SHOAL_UVLOOP": "0",
        **more,
    }


@contextmanager
def sharing_model(namespace: Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """Share a folder in a namespace; yield the folder and its link."""
    model = make_model(folder)
    words = ["shoal", "share", str(model)]
    env = environment(folder / "source")
    with Program(words, namespace=namespace, env=env) as program:
        yield model, program.wait_line(r"^shoal:\S+$", stream="out")[0]


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    text: str

    @property
    def argv(self) -> list[str]:
        """Return the words of an instruction in JSON form."""
        words: list[str] = json.loads(self.text)
        return words


def read_dockerfile(path: Path) -> list[Instruction]:
    """Return the instructions, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def last_of(instructions: list[Instruction]) -> dict[str, Instruction]:
    """Return the effective, that is the last, instruction of each kind."""
    return {each.word: each for each in instructions}
