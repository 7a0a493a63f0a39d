"""The cluster of a chaos run: three nodes on this machine, of which those with workers lose processes and are replaced."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.faults.left_behind import title

HEAD_CPUS, NODE_CPUS = 1, 3
"""Chosen so that the two nodes left after a kill have the four CPUs of the run, and workers are not on the head."""


@dataclass
class Nodes:
    """The nodes of the cluster; the head is never killed, for it holds Ray's state."""

    cluster: Cluster = field(
        default_factory=lambda: Cluster(
            initialize_head=True, head_node_args={"num_cpus": HEAD_CPUS, "include_dashboard": False}
        )
    )

    def __post_init__(self) -> None:
        for _ in range(2):
            self.cluster.add_node(num_cpus=NODE_CPUS)

    def raylets(self) -> dict[int, Any]:
        """Returns {pid of the raylet: node} for the nodes that may be killed."""
        return {
            int(node.all_processes["raylet"][0].process.pid): node
            for node in self.cluster.worker_nodes
            if node.all_processes.get("raylet")
        }

    def train_workers(self) -> list[psutil.Process]:
        """Returns the processes of the training function on these nodes."""
        found = []
        for pid in self.raylets():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [p for p in psutil.Process(pid).children(recursive=True) if "RayTrainWorker" in title(p)]
        return found

    def kill_one(self, chance: random.Random, kind: str) -> None:
        """Kills (-9) a worker, or the raylet of its node with all that ran there; such a node is then replaced."""
        victim = chance.choice(sorted(self.train_workers(), key=lambda p: p.pid))
        if kind == "worker":
            victim.kill()
            return
        pid = next(p.pid for p in victim.parents() if p.pid in self.raylets())
        node = self.raylets()[pid]
        psutil.Process(pid).kill()
        self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.add_node(num_cpus=NODE_CPUS)
