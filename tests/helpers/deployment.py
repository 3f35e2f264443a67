"""What those need who run shoal as a service manager would."""

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


@contextmanager
def sharing_model(namespace: Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """Share a folder in a namespace; give it and its link."""
    model = make_model(folder)
    words = ["shoal", "share", str(model)]
    env = environment(folder / "source")
    with Program(words, namespace=namespace, env=env) as program:
        yield model, program.wait_line(r"^shoal:\S+$", stream="out")[0]


class Instruction(NamedTuple):
    """Hold one line of it."""

    word: str
    text: str

    @property
    def argv(self) -> list[str]:
        """Return the words of an instruction that is written as JSON."""
        words: list[str] = json.loads(self.text)
        return words


def read_dockerfile(path: Path) -> list[Instruction]:
    """Return the instructions, with their continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def last_of(instructions: list[Instruction]) -> dict[str, Instruction]:
    """Return the instruction of each kind that counts: the last one."""
    return {each.word: each for each in instructions}
