"""The steps of the Dockerfile work outside Docker, and the result runs as its user."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from tests.helpers.deployment import ROOT, last_of, read_dockerfile
from tests.helpers.folders import list_folder
from tests.helpers.netns import Namespace
from tests.helpers.process import Program


def test_the_image_is_slim_and_pinned_and_runs_without_root() -> None:
    found = read_dockerfile(ROOT / "Dockerfile")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bases = [each.text.split()[0] for each in found if each.word == "FROM"]
    assert len(set(bases)) == 1
    version = re.fullmatch(r"python:(3\.\d+)-slim", bases[0])
    assert version
    supported = f"Programming Language :: Python :: {version[1]}"
    assert supported in project["classifiers"]
    last = last_of(found)
    assert last["USER"].text.split(":")[0] not in ("0", "root")
    assert last["ENTRYPOINT"].argv[0] in project["scripts"]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for each in found:
        if each.word == "COPY" and "--from" not in each.text:
            for name in each.text.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in kept


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_steps_of_the_image_install_a_shoal_that_needs_no_root(
    namespace: Namespace,
) -> None:
    """The absolute paths of the image are in a folder of the test."""
    with tempfile.TemporaryDirectory(prefix="shoal-image-") as made:
        root = Path(made)
        root.chmod(0o755)
        build(root)
        check_image(root, namespace)


def build(root: Path) -> None:
    """Run the instructions of the Dockerfile."""
    python = Path(shutil.which("python3", path="/usr/bin") or sys.executable)
    (root / "bin").mkdir()
    (root / "bin/python").symlink_to(python)
    env = {**os.environ, "PATH": f"{root}/bin:{os.environ['PATH']}"}
    for step in read_dockerfile(ROOT / "Dockerfile"):
        if step.word == "RUN":
            command = below(root, step.text)
            if os.geteuid() != 0:
                command = re.sub(r"-[og] \d+ ", "", command)
            subprocess.run(command, shell=True, check=True, env=env, cwd=root)
        elif step.word == "COPY" and "--from" in step.text:
            _, source, target = step.text.split()
            assert source == target  # scripts in a venv contain its path
            assert Path(below(root, target)).is_dir()
        elif step.word == "COPY":
            *sources, target = step.text.split()
            copy(sources, Path(below(root, target)))


def copy(sources: list[str], target: Path) -> None:
    """Copy files of the checkout into a folder, or a folder to the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in sources:
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, target, ignore=ignored)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(path, target)


def below(root: Path, text: str) -> str:
    """Return the text with absolute paths moved below a folder."""
    return re.sub(r"(?<![\w.\]-])/(opt|src|data)\b", rf"{root}/\1", text)


def check_image(root: Path, namespace: Namespace) -> None:
    """Share and fetch with the user, folder and variables of the image."""
    steps = read_dockerfile(ROOT / "Dockerfile")
    last = last_of(steps)
    env = {"SHOAL_LAN_ONLY": "1"}
    for step in steps:
        if step.word == "ENV":
            name, _, value = step.text.partition("=")
            env[name] = below(root, value)
    user, _, group = last["USER"].text.partition(":")
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    words = [*(become if os.geteuid() == 0 else []), *last["ENTRYPOINT"].argv]
    data = Path(below(root, last["WORKDIR"].text))
    helped = subprocess.run(
        [*words, *last["CMD"].argv], env=env, cwd=data, capture_output=True, text=True
    )
    assert helped.returncode == 0, helped.stderr
    assert "Commands:" in helped.stdout
    shared = root / "src/src"
    share = [*words, "share", str(shared), "--name", "copy"]
    with Program(share, namespace=namespace, env=env, cwd=data) as sharer:
        link = sharer.wait_line(r"^shoal:\S+$", stream="out")[0]
        get = [*words, "get", link]
        assert Program(get, namespace=namespace, env=env, cwd=data).finish().code == 0
    assert list_folder(data / "copy") == list_folder(shared)
