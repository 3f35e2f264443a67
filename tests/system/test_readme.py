"""Every command of the README is run as a reader would, top to bottom.

ID stands for what the last `share` printed, 192.0.2.7 for the machine it runs on.
Nothing leaves the test's namespace: the DHT is off there.
"""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.requirements import require

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BY_HAND = {"scripts/test", "scripts/check"}  # run by CI, beside these tests


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> Iterator[str]:
    for block in blocks("sh"):
        for line in block.splitlines():
            yield re.sub(r"\s+#.*", "", line)


class Reader:
    """Someone with a checkout who types what the README says."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.folder = folder
        self.namespace = namespace
        self.id = ""
        self.sharing: list[Program] = []
        shutil.copy(ROOT / "README.md", folder)

    def start(self, line: str) -> Program:
        line = re.sub(r"\bID\b", self.id, line)
        line = line.replace("192.0.2.7", "127.0.0.1").replace(
            "scripts/", f"{ROOT}/scripts/"
        )
        line = line.replace("/tmp/", f"{self.folder}/tmp-")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "SHOAL_LAN_ONLY": "1"}
        argv = ["sh", "-c", f"exec {line}" if "|" not in line else line]
        return Program(argv, namespace=self.namespace, cwd=self.folder, env=env)

    def share(self, line: str) -> None:
        # Two shares of one example would want the same port.
        self.stop()
        program = self.start(line)
        self.sharing.append(program)
        self.id = program.wait_line(r"^\S+$", 60, stream="out")[0]

    def run(self, line: str) -> None:
        program = self.start(line)
        with program:
            if "--seed" in line:
                program.wait_line("copy.md", stream="out")
                program.send(signal.SIGINT)
            code, out, err = program.finish()
        assert code == (130 if "--seed" in line else 0), (line, err)
        if " chunk " in line:
            assert out == README.encode()[:1024]
            return
        (copy,) = set(self.folder.glob("*.md")) - {self.folder / "README.md"}
        assert copy.read_text() == README
        copy.unlink()

    def stop(self) -> None:
        for program in self.sharing:
            program.send(signal.SIGINT)
            assert program.finish().code == 130
        self.sharing.clear()


def test_every_command_of_the_readme_does_what_it_says(
    namespace: Namespace, tmp_path: Path
) -> None:
    is_set_up = (ROOT / ".venv/.dev-installed").exists()
    require(None if is_set_up else "scripts/setup dev has not run")
    reader = Reader(namespace, tmp_path)
    try:
        for line in commands():
            if line in BY_HAND:
                assert os.access(ROOT / line, os.X_OK)
            elif " share " in line:
                reader.share(line)
            else:
                reader.run(line)
        for block in blocks("python"):
            example = block.replace('"ID"', f'"{reader.id}"')
            (tmp_path / "example.py").write_text(example)
            reader.run(f"{sys.executable} example.py")
    finally:
        for program in reader.sharing:
            program.kill()
