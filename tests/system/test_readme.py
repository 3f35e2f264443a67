"""Every command of the README is run as a reader would, top to bottom.

LINK and CHANNEL stand for what the last `share` printed, 192.0.2.7 for the machine it
runs on. Nothing leaves the test's namespace: the DHT is off there.
"""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

from tests.helpers.documents import blocks
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.requirements import require

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BY_HAND = {"scripts/test", "scripts/check", "scripts/docs"}  # run by tests or CI


class Reader:
    """Someone with a checkout who types what the README says."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.folder = folder
        self.namespace = namespace
        self.link = ""
        self.sharing: list[Program] = []
        shutil.copy(ROOT / "README.md", folder)
        shutil.copytree(ROOT / "src", folder / "src")
        (folder / "tmp-").mkdir()

    def start(self, line: str) -> Program:
        line = re.sub(r"\b(LINK|CHANNEL)\b", self.link, line)
        line = line.replace("192.0.2.7", "127.0.0.1")
        # First, since the checkout and the folder may lie in /tmp themselves.
        line = line.replace("/tmp/", "@/tmp-")
        line = line.replace("scripts/", f"{ROOT}/scripts/")
        line = line.replace("@", str(self.folder))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {
            **os.environ,
            "PATH": path,
            "SHOAL_LAN_ONLY": "1",
            "XDG_DATA_HOME": f"{self.folder}/tmp-home",
        }
        argv = ["sh", "-c", f"exec {line}" if "|" not in line else line]
        return Program(argv, namespace=self.namespace, cwd=self.folder, env=env)

    def type(self, line: str) -> None:
        if line in BY_HAND:
            assert os.access(ROOT / line, os.X_OK)
        elif " share " in line:
            self.share(line)
        elif " serve " in line:
            self.serve(line)
        else:
            self.run(line)

    def share(self, line: str) -> None:
        # Two shares of one example would want the same port.
        self.stop()
        program = self.start(line)
        self.sharing.append(program)
        self.link = program.wait_line(r"^\S+$", 60, stream="out")[0]

    def serve(self, line: str) -> None:
        with self.start(line) as program:
            program.wait_line(r"^http://127\.0\.0\.1:", stream="out")
            program.send(signal.SIGINT)
            assert program.finish().code == 130

    def run(self, line: str) -> None:
        with self.start(line) as program:
            if "--seed" in line:
                program.wait_line("copy.md", stream="out")
                program.send(signal.SIGINT)
            code, out, err = program.finish()
        assert code == (130 if "--seed" in line else 0), (line, err)
        if " get " in line or "python" in line:
            self.check_copy()
        elif " cat " in line or " chunk " in line:
            assert len(out) >= 100
            assert README.encode().startswith(out)
        else:
            assert out

    def check_copy(self) -> None:
        """Check what was fetched, and clear it away for the next command."""
        fetched = self.folder / "tmp-" / "src"
        if fetched.exists():
            ours, theirs = (
                {
                    path.relative_to(top): path.read_bytes()
                    for path in top.rglob("*")
                    if path.is_file() and path.suffix != ".pyc"
                }
                for top in (self.folder / "src", fetched)
            )
            assert ours == theirs
            shutil.rmtree(fetched)
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
        for block in blocks(README):
            if block.language == "sh" and not block.mark:
                for line in block.text.splitlines():
                    reader.type(re.sub(r"\s+#.*", "", line))
            elif block.language == "python":
                example = block.text.replace('"LINK"', f'"{reader.link}"')
                (tmp_path / "example.py").write_text(example)
                reader.run("python example.py")
    finally:
        for program in reader.sharing:
            program.kill()


def test_the_scripts_that_contributors_are_told_of_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = (block for block in blocks(page) if block.language == "sh")
    for line in block.text.splitlines():
        assert os.access(ROOT / line.split()[0], os.X_OK), line
