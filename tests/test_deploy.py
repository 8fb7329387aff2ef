"""What runs it elsewhere: the image's files are all there, and each file starts the studio with options that there are."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.ports import free_port
from tests.soak.server import running
from webapp.cli import app

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a file into the build."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split():
        pattern = line.removeprefix("!")
        below = any(fnmatch(part, pattern.removeprefix("**/")) for part in path.split("/"))
        if path == pattern or path.startswith(pattern + "/") or pattern == "*" or (pattern.startswith("**/") and below):
            sent = line.startswith("!")
    return sent


def test_the_image_is_built_from_everything_that_a_wheel_holds_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    needed = [
        *wheel,
        project["project"]["readme"],
        *project["project"]["license-files"],
        "requirements.txt",
        "pyproject.toml",
    ]
    assert [path for path in needed if not is_sent(path)] == []
    for kept in (
        "data/jobs.sqlite",
        "models/checkpoints/mine.safetensors",
        ".git/config",
        "deploy/prometheus.key",
        ".venv/bin/python",
    ):
        assert not is_sent(kept), kept


def commands() -> dict[str, list[str]]:
    """How each file of deploy/ starts the studio."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    unit = re.search(r"^ExecStart=\S+/studio (.*) \$OPTIONS$", (DEPLOY / "studio.service").read_text(), re.MULTILINE)
    image = re.search(r"^CMD \[(.*)\]$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    *_, deployment = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text(encoding="utf-8"))
    pod = deployment["spec"]["template"]["spec"]["containers"][0]
    assert unit and image
    return {
        "kuberay": pod["args"][0].partition("exec studio ")[2].split(),
        "compose": compose["services"]["studio"]["command"],
        "unit": unit[1].split(),
        "image": re.findall(r'"([^"]*)"', image[1]),
    }


@pytest.mark.parametrize("file", ["compose", "unit", "image", "kuberay"])
def test_it_is_started_with_options_that_there_are(file: str) -> None:
    told = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).output
    command = commands()[file]
    assert command[0] == "run"
    options = [word for word in command if word.startswith("--")]
    assert options
    for option in options:
        assert option in told, option


@pytest.mark.slow
def test_the_image_is_well_wherever_its_studio_answers_and_only_while_it_does(tmp_path: Path) -> None:
    told = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert told
    ask = [sys.executable, *json.loads(told[1])[1:]]
    elsewhere = {"http_proxy": f"http://127.0.0.1:{free_port()}", "STUDIO_DATA": str(tmp_path)}

    def asked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(ask, env=os.environ | elsewhere, capture_output=True, text=True, timeout=60, check=False)

    with running(tmp_path, "--base", "/draw", "--name", "studio.example", base="/draw") as studio:
        assert asked().returncode == 0, asked().stderr
        studio.process.send_signal(signal.SIGSTOP)
        assert "timed out" in asked().stderr
        studio.process.send_signal(signal.SIGCONT)
        assert asked().returncode == 0
    assert "refused" in asked().stderr


def test_the_cluster_runs_the_ray_that_the_studio_speaks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [wanted] = project["project"]["optional-dependencies"]["ray"]
    cluster, *_ = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text(encoding="utf-8"))
    assert fnmatch(f"ray=={cluster['spec']['rayVersion']}", wanted)
    for file in ("Dockerfile", "kuberay.yaml"):
        assert f'EXTRA="{wanted}"' in (DEPLOY / file).read_text(encoding="utf-8")


GROUP = {"template", "rayStartParams"}
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs", "autoscalerOptions", "enableInTreeAutoscaling"}
WORKERS = GROUP | {"groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "numOfHosts"}
"""What KubeRay reads (v1, raycluster_types.go), as far as it is used here. What it does not know it drops."""


def test_the_cluster_says_what_kuberay_reads_and_how_each_of_its_pods_is_asked_for_its_health() -> None:
    cluster, *_ = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text(encoding="utf-8"))
    spec = cluster["spec"]
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert set(spec) <= CLUSTER
    head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert set(head) <= GROUP and all(WORKERS >= set(group) >= GROUP | {"groupName"} for group in workers)
    for group, port in [(head, "port"), *((group, "node-manager-port") for group in workers)]:
        told = group["rayStartParams"]
        assert all(isinstance(value, str) for value in told.values()), "KubeRay reads them as texts"
        [container] = group["template"]["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"]["port"] == int(told.get(port, 6379))


def test_the_dockerfile_follows_the_rules_of_hadolint() -> None:
    program = Path(sys.executable).parent / "hadolint"
    if not program.is_file():
        pytest.skip("hadolint is not here: pip install -r requirements-dev.txt")
    done = subprocess.run(
        [program, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_the_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    # Its program lies where nobody has installed it here.
    unit = tmp_path / "studio.service"
    unit.write_text((DEPLOY / "studio.service").read_text().replace("/opt/studio/bin/studio", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "studio.service" not in done.stderr, done.stderr
