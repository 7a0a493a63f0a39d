"""Subgraphs for pretraining and temporal trees for tasks, drawn from a whole graph or, bit for bit alike, from one in shares.

A sample is a function of (run seed, epoch, number) and the graph: worker, batch, thread and placement play no part.
"""

from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.sharded import ShardedHGSampling
from rdl_core.sampling.share import GraphShare, Ownership, ownership
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.sampling.temporal_sampling import TemporalSampling, TemporalSubgraph

__all__ = [
    "GraphShare",
    "HGSampling",
    "Ownership",
    "ShardedHGSampling",
    "Subgraph",
    "TemporalSampling",
    "TemporalSubgraph",
    "ownership",
]
