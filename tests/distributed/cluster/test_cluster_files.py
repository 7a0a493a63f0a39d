"""cluster.yaml, its variants and their commands: Ray's own schema accepts them, what they name exists, and what they promise is set."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import version
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from distributed.commands.command_line import parse
from distributed.commands.options import COMMANDS
from tests import REPOSITORY
from tests.faults.ray_hosts import HEALTH_CHECKS

ROOT = REPOSITORY
LAUNCHER = ("cluster.yaml", "examples/cluster_local.yaml")
JOB = "examples/kuberay/rayjob.yaml"
REPOSITORY = re.compile(r"(?:/home/ray|~)/relational-pretraining/?([\w./-]*)")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    return [s for v in value for s in strings(v)] if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize("name", LAUNCHER)
def test_rays_own_schema_accepts_it(name: str) -> None:
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", LAUNCHER)
def test_rays_own_schema_would_refuse_a_wrong_key(name: str) -> None:
    with pytest.raises(Exception, match="max_worker_nodes"):
        validate_config(prepare_config({**read(name), "max_worker_nodes": 3}))


@pytest.mark.parametrize("name", [*LAUNCHER, JOB])
def test_files_of_the_repository_that_it_names_exist(name: str) -> None:
    named = {m for text in strings(read(name)) for m in REPOSITORY.findall(text)}
    assert all((ROOT / path).exists() for path in named), named
    commented = re.findall(r"examples/[\w/]+\.\w+", (ROOT / name).read_text())
    assert commented
    assert all((ROOT / path).exists() for path in commented), commented


@pytest.mark.parametrize("name", [*LAUNCHER, JOB])
def test_its_commands_are_understood_by_our_command_line(name: str) -> None:
    text = (ROOT / name).read_text()
    submitted = re.findall(r"ray submit \S+ examples/pretrain\.py -- (.+)", text)
    ours = [f"pretrain {rest}" for rest in submitted] + re.findall(r"python -m distributed (.+)", text)
    assert ours
    for arguments in ours:
        name, *words = shlex.split(arguments)
        parse(COMMANDS[name], words, name)


@pytest.mark.parametrize("name", [*LAUNCHER, JOB])
def test_numbers_that_are_not_defaults_say_why(name: str) -> None:
    numbers = re.compile(
        r"(?:max_workers|min_workers|idle\w*|VolumeSize|shm-size|backoffLimit|minReplicas|sizeLimit|ttl\w+)\b[:=]?.*\d"
    )
    bare = [
        line.strip()
        for line in (ROOT / name).read_text().splitlines()
        if numbers.search(line) and "#" not in line and not re.search(r"max_workers: [248]$|maxReplicas", line)
    ]
    assert bare == []


def test_the_head_never_trains() -> None:
    cluster = read("cluster.yaml")
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("--num-cpus=0" in command for command in read(LAUNCHER[1])["head_start_ray_commands"])
    assert read(JOB)["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


def test_versions_are_those_of_the_constraints() -> None:
    image = read("cluster.yaml")["docker"]["image"]
    assert f":{version('ray')}-py311" in image
    assert read(JOB)["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_is_started_with_token_auth_on_every_node(name: str) -> None:
    cluster = read(name)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert all("RAY_AUTH_MODE=token" in c for c in cluster[key] if "ray start" in c)
    assert any(remote.endswith(".ray/auth_token") for remote in cluster["file_mounts"])


@pytest.mark.parametrize("name", LAUNCHER)
def test_a_lost_node_is_looked_for_every_second_by_every_node(name: str) -> None:
    cluster = read(name)
    started = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[key]
        if "ray start" in command
    ]
    assert len(started) == 2
    assert all(f"{variable}={value}" in command for command in started for variable, value in HEALTH_CHECKS.items())
