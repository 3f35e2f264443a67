"""Every command and program of the README is run as a reader would, top to bottom."""

import os
import re
import shutil
from pathlib import Path

from tests.helpers.documents import ROOT, Reader, blocks
from tests.helpers.folders import list_folder
from tests.helpers.netns import Namespace
from tests.helpers.requirements import require

README = (ROOT / "README.md").read_text()
ELSEWHERE = {"scripts/test", "scripts/check", "scripts/docs"}  # run by tests or CI


class Visitor(Reader):
    """A reader with a checkout, who checks each file that a command fetches.

    CHANNEL stands for the id that the last share printed.
    """

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        super().__init__(namespace, folder)
        leave_out = shutil.ignore_patterns("*.pyc")
        shutil.copytree(ROOT / "src", self.here / "src", ignore=leave_out)
        for each in (self.here, self.there):
            shutil.copy(ROOT / "README.md", each)
        (self.there / "tmp").mkdir()

    def type(self, line: str) -> None:
        command = re.sub(r"\s+#.*", "", line)
        if command in ELSEWHERE:
            assert os.access(ROOT / command, os.X_OK)
            return
        super().type(command)
        if " get " in command:
            self.check_copy()
        elif " cat " in command or " chunk " in command:
            assert README[:90] in self.said
        assert self.said

    def execute(self, program: str) -> None:
        super().execute(program)
        self.check_copy()

    def fill_in(self, text: str) -> str:
        text = text.replace("CHANNEL", "LINK").replace("/tmp/", "tmp/")
        return super().fill_in(text.replace("scripts/", f"{ROOT}/scripts/"))

    def check_copy(self) -> None:
        """Check the fetched file or folder and remove it."""
        folder = self.there / "tmp" / "src"
        if folder.exists():
            assert list_folder(folder) == list_folder(self.here / "src")
            shutil.rmtree(folder)
            return
        (copy,) = set(self.there.rglob("*.md")) - {self.there / "README.md"}
        assert copy.read_text() == README
        copy.unlink()


def test_every_command_of_the_readme_works(
    namespace: Namespace, tmp_path: Path
) -> None:
    is_set_up = (ROOT / ".venv/.dev-installed").exists()
    require(None if is_set_up else "scripts/setup dev has not run")
    visitor = Visitor(namespace, tmp_path)
    try:
        visitor.read(README)
    finally:
        visitor.kill()


def test_the_scripts_in_contributing_are_executable() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = (block for block in blocks(page) if block.language == "sh")
    for line in block.text.splitlines():
        assert os.access(ROOT / line.split()[0], os.X_OK), line
