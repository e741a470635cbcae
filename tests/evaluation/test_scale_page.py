"""The scripts of docs/scale.md: a SLURM array job run by stand-ins of its programs, the RayJob's fields checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import parsed
from test_faults import FAST, FAST_ARGUMENTS, comparable, counts
from typer.testing import CliRunner

from evaluation import evaluate
from evaluation.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def block(language: str, first: str) -> str:
    """The one code block of a language that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if text.startswith(first)]
    return found


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of stand-ins: `srun` runs what it is given, `car` notes its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"srun": 'exec "$@"', "car": 'printf "%s\\n" "$@" > "$NOTED"'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def array_task(script: str, task: int, programs: Path) -> list[str]:
    """What the job of one array task calls `car` with."""
    noted = programs / f"{task}.txt"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": str(task),
        "NOTED": str(noted),
    }
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=environment, check=True)
    return noted.read_text().splitlines()


def test_the_tasks_of_the_slurm_array_are_the_shards_of_one_run(
    programs: Path, tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = block("bash", "#!/bin/bash")
    settings = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", script, re.MULTILINE))
    assert settings["array"] == "1-16"
    assert settings["signal"].startswith("TERM@")  # which the run understands
    calls = [array_task(script, task, programs) for task in range(1, 17)]
    assert [call[call.index("--shard") + 1] for call in calls] == [f"{task}/16" for task in range(1, 17)]
    assert len({call[call.index("--out") + 1] for call in calls}) == 16

    monkeypatch.chdir(tmp_path)
    own = tiny_run.arguments(*FAST_ARGUMENTS)
    own = [argument for argument in own if argument not in ("--out", str(tiny_run.out))]
    for task in (1, 2, 3):
        call = array_task(script.replace("/16", "/3"), task, programs)
        shard = [*own, *call[call.index("--shard") :]]
        assert CliRunner().invoke(app, shard).exit_code == 0
    assert parsed(re.findall(r"`(car merge parts/\* [^`]*)`", PAGE.read_text())[0])
    parts = [str(path) for path in sorted((tmp_path / "parts").iterdir())]
    assert CliRunner().invoke(app, ["merge", *parts, "--out", "whole"]).exit_code == 0
    evaluate(tiny_run.options(settings=FAST))
    assert comparable(tmp_path / "whole") == comparable(tiny_run.out)
    assert counts(tmp_path / "whole") == counts(tiny_run.out)


# Fields of KubeRay's v1 resources and of a pod, as far as the manifest uses such places.
JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec", "runtimeEnvYAML"}
CLUSTER = {"enableInTreeAutoscaling", "autoscalerOptions", "rayVersion", "headGroupSpec", "workerGroupSpecs"}
HEAD = {"rayStartParams", "template", "serviceType"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
CONTAINER = {"name", "image", "resources", "volumeMounts", "env", "ports"}


def test_the_rayjob_has_the_fields_of_its_resource() -> None:
    manifest = yaml.safe_load(block("yaml", "apiVersion"))
    assert (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"]) == ("ray.io/v1", "RayJob", "voc21")
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    job, cluster = manifest["spec"], manifest["spec"]["rayClusterSpec"]
    assert {"entrypoint", "rayClusterSpec"} <= set(job) <= JOB
    assert {"headGroupSpec", "workerGroupSpecs"} <= set(cluster) <= CLUSTER
    assert {"rayStartParams", "template"} <= set(cluster["headGroupSpec"]) <= HEAD
    for group in cluster["workerGroupSpecs"]:
        assert {"groupName", "rayStartParams", "template"} <= set(group) <= WORKERS
        assert group["minReplicas"] <= group.get("replicas", group["minReplicas"]) <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # flags of `ray start`
        assert set(group["template"]["spec"]) == {"containers", "volumes"}
        assert all({"name", "image"} <= set(each) <= CONTAINER for each in group["template"]["spec"]["containers"])


def test_rayjob_asks_for_an_actor_per_gpu() -> None:
    job = yaml.safe_load(block("yaml", "apiVersion"))["spec"]
    options = parsed(job["entrypoint"])
    [workers] = job["rayClusterSpec"]["workerGroupSpecs"]
    [container] = workers["template"]["spec"]["containers"]
    assert (options["engine"], options["address"], options["device"]) == ("ray", "auto", "cuda")
    gpus = workers["maxReplicas"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert options["actors"] == gpus
    assert json.loads(json.dumps(job["rayClusterSpec"]["headGroupSpec"]["rayStartParams"])) == {"num-cpus": "0"}
