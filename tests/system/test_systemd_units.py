"""The systemd units are valid for systemd, and their commands work.

No systemd runs here. The tests start the commands with the environment, the umask and
the signals of systemd.
"""

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.deployment import (
    ROOT,
    environment,
    make_model,
    need,
    sharing_model,
)
from tests.helpers.folders import list_folder
from tests.helpers.netns import Namespace
from tests.helpers.process import Program

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
INSTANCES = {"shoal-share@": "srv-model", "shoal-seed@": "model"}
MAX_EXPOSURE = 20  # tenths; systemd rates an exposure from 50 as medium


@pytest.fixture
def source(namespace: Namespace, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    with sharing_model(namespace, tmp_path) as shared:
        yield shared


def settings(unit: Path) -> dict[str, list[str]]:
    """Return all settings of a unit by key."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def command_of(unit: Path, **specifiers: str) -> list[str]:
    """Return the command of a unit, as systemd parses it."""
    (line,) = settings(unit)["ExecStart"]
    words = shlex.split(line)
    for letter, value in specifiers.items():
        words = [word.replace(f"%{letter}", value) for word in words]
    (umask,) = settings(unit)["UMask"]
    start = ["sh", "-c", f'umask {umask}; exec "$@"', "systemd"]
    return [*start, *(word.replace("$$", "$") for word in words)]


def instance(unit: Path, folder: Path) -> Path:
    """Write a unit under the name of an instance; systemd checks no templates."""
    name = INSTANCES[unit.stem]
    made = folder / f"{unit.stem}{name}.service"
    made.write_text(unit.read_text())
    return made


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
@pytest.mark.program("system", "systemd", "systemctl --version", "the units in deploy/")
def test_a_unit_is_valid_for_systemd(unit: Path, tmp_path: Path) -> None:
    words = [need("systemd-analyze"), "verify", "--man=no"]
    done = subprocess.run(
        [*words, str(instance(unit, tmp_path))], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_rates_the_exposure_of_a_unit_as_low(
    unit: Path, tmp_path: Path
) -> None:
    words = [need("systemd-analyze"), "security", "--offline=yes", "--no-pager"]
    limit = f"--threshold={MAX_EXPOSURE}"
    done = subprocess.run(
        [*words, limit, str(instance(unit, tmp_path))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_sharing_unit_writes_the_link_and_ends_without_error(
    namespace: Namespace, tmp_path: Path
) -> None:
    (unit,) = (unit for unit in UNITS if unit.stem == "shoal-share@")
    model, state = make_model(tmp_path), tmp_path / "state"
    state.mkdir()
    env = environment(state, STATE_DIRECTORY=str(state))
    words = command_of(unit, f=str(model), i="srv-model")
    with Program(words, namespace=namespace, env=env, cwd=Path("/")) as service:
        service.wait_line("Sharing model")
        link = (state / "link").read_text().strip()
        copy = tmp_path / "copy"
        get = ["shoal", "get", link, "-o", str(copy)]
        with Program(get, namespace=namespace, env=environment(tmp_path)) as getter:
            assert getter.finish().code == 0
        assert list_folder(copy) == list_folder(model)
        assert (state / "link").stat().st_mode & 0o077 == 0
        service.send(signal.SIGTERM)
        ended = service.finish()
    assert [str(ended.code)] == settings(unit)["SuccessExitStatus"]
    assert link not in ended.stderr


def test_the_seeding_unit_fetches_the_link_in_its_credential(
    namespace: Namespace, source: tuple[Path, str], tmp_path: Path
) -> None:
    (unit,) = (unit for unit in UNITS if unit.stem == "shoal-seed@")
    model, link = source
    state, secrets = tmp_path / "state", tmp_path / "credentials"
    state.mkdir()
    secrets.mkdir()
    (secrets / "link").write_text(link + "\n")
    env = environment(
        state, STATE_DIRECTORY=str(state), CREDENTIALS_DIRECTORY=str(secrets)
    )
    words = command_of(unit, i="model")
    assert link not in " ".join(words)
    with Program(words, namespace=namespace, env=env, cwd=Path("/")) as service:
        service.wait_line("model", stream="out")
        assert list_folder(state / "model") == list_folder(model)
        service.send(signal.SIGTERM)
        assert [str(service.finish().code)] == settings(unit)["SuccessExitStatus"]
    with Program(words, namespace=namespace, env=env, cwd=Path("/")) as service:
        service.wait_line("Sharing 1 share on port")
        service.send(signal.SIGTERM)
        ended = service.finish()
    assert [str(ended.code)] == settings(unit)["SuccessExitStatus"]
    assert link not in ended.stdout.decode()


def test_shoal_makes_only_system_calls_that_the_units_permit(
    namespace: Namespace, source: tuple[Path, str], tmp_path: Path
) -> None:
    _, link = source
    trace = tmp_path / "trace"
    words = [need("strace"), "-f", "-qq", "-o", str(trace)]
    words += ["shoal", "get", link, "-o", str(tmp_path / "copy"), "--seed-for", "1s"]
    with Program(words, namespace=namespace, env=environment(tmp_path)) as program:
        assert program.finish(40).code == 0
    used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(), re.MULTILINE))
    assert {"execve", "bind", "recvmsg"} & used
    for unit in UNITS:
        assert used <= allowed_calls(settings(unit)["SystemCallFilter"])


def allowed_calls(filters: list[str]) -> set[str]:
    """Return the system calls that a unit permits, by the sets of this systemd."""
    words = [need("systemd-analyze"), "syscall-filter", "--no-pager"]
    listing = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    sets: dict[str, list[str]] = {}
    for line in listing.splitlines():
        word = line.partition("#")[0].strip()
        if line.startswith("@"):
            members = sets.setdefault(word, [])
        elif word:
            members.append(word)

    def expand(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return set().union(*map(expand, sets[name]))

    # systemd always permits those of @default.
    allowed = expand("@default")
    for line in filters:
        names = set().union(*map(expand, line.removeprefix("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed
