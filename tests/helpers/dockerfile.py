"""What a Dockerfile says, as far as ours says anything."""

import json
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Instruction", "last_of", "read_dockerfile"]


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
