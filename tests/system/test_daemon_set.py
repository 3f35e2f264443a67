"""The DaemonSet example is valid for Kubernetes' schemas, and its commands work.

There is no Kubernetes here. The tests run the commands of a pod with the environment of
the manifest; its volumes are in a folder of the test.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

import shoal
from tests.helpers.deployment import PATH, ROOT, last_of, read_dockerfile, sharing_model
from tests.helpers.folders import list_folder
from tests.helpers.netns import Namespace
from tests.helpers.process import Program

MANIFEST = ROOT / "deploy/kubernetes/model.yaml"
VERSIONS = ("1.29", "1.34")  # version of Kubernetes


@pytest.fixture
def source(namespace: Namespace, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    with sharing_model(namespace, tmp_path) as shared:
        yield shared


def daemon_set() -> dict[str, Any]:
    """Return it."""
    (document,) = yaml.safe_load_all(MANIFEST.read_text())
    assert document["kind"] == "DaemonSet"
    return dict(document)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.program(
    *("system", "kubernetes-validate", "pip:kubernetes-validate"),
    "the DaemonSet in deploy/",
)
def test_kubernetes_understands_the_daemon_set(version: str) -> None:
    validate(daemon_set(), version, strict=True)
    wrong = daemon_set()
    wrong["spec"]["template"]["spec"]["hostnetwork"] = True
    with pytest.raises(ValidationError):
        validate(wrong, version, strict=True)


def test_the_parts_of_the_daemon_set_match_and_need_few_resources() -> None:
    spec = daemon_set()["spec"]
    pod = spec["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    volumes = {volume["name"] for volume in pod["volumes"]}
    (main,) = pod["containers"]
    for container in (*pod["initContainers"], main):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["resources"]["limits"]["memory"]
        security = container["securityContext"]
        assert security["capabilities"]["drop"] == ["ALL"]
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]
        assert container["image"] == f"shoal:{shoal.__version__}"
    assert pod["securityContext"]["runAsNonRoot"]
    user = last_of(read_dockerfile(ROOT / "Dockerfile"))["USER"].text
    ids = (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"])
    assert user == "{}:{}".format(*ids)


def test_a_pod_fetches_the_model_and_is_ready_when_it_is_complete(
    namespace: Namespace, source: tuple[Path, str], tmp_path: Path
) -> None:
    model, link = source
    pod = daemon_set()["spec"]["template"]["spec"]
    (main,), (own,) = pod["containers"], pod["initContainers"]
    inside = {mount["mountPath"] for mount in main["volumeMounts"]}

    def outside(word: str) -> str:
        place = f"/{word.split('/')[1]}" if word.startswith("/") else ""
        return f"{tmp_path}{word}" if place in inside else word

    env = {"PATH": PATH, "SHOAL_UVLOOP": "0"}
    for each in main["env"]:
        env[each["name"]] = outside(each["value"]) if "value" in each else link
    assert env["SHOAL_LINK"] == link
    if os.geteuid() == 0:
        subprocess.run([outside(word) for word in own["command"]], check=True)
        owner = (tmp_path / "models").stat()
        assert owner.st_uid == pod["securityContext"]["runAsUser"]
    else:
        (tmp_path / "models").mkdir()
    words = [word.replace("/models", f"{tmp_path}/models") for word in main["command"]]
    probe = [outside(word) for word in main["readinessProbe"]["exec"]["command"]]
    assert subprocess.run(probe).returncode == 1
    with Program(words, namespace=namespace, env=env) as container:
        container.wait_line("/models/model", stream="out")
        assert subprocess.run(probe).returncode == 0
        assert list_folder(tmp_path / "models/model") == list_folder(model)
        container.wait_line("on port 4001")
        container.send(signal.SIGTERM)
        assert container.finish().code == 143
    with Program(words, namespace=namespace, env=env) as container:
        container.wait_line("Sharing 1 share on port 4001")
        container.send(signal.SIGTERM)
        assert container.finish().code == 143
