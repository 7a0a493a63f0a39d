"""The form of one sample of pretraining, and of one of a task."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from rdl_core.config.decoding import checked


@checked
class HGSamplingConfig:
    """The form of one sample of pretraining."""

    seed_table: str | None = None
    """Table that the seeds come from. None: the one with the most foreign keys, of ties the one with the most rows (paper)."""
    seeds: Literal["one_table", "all_tables"] = "one_table"
    """'one_table' (paper), or 'all_tables': every row of every table is a seed once per epoch."""
    seeds_per_sample: PositiveInt = 64
    """Seed rows grown into one subgraph."""
    rows_per_hop: PositiveInt = 64
    """Rows drawn per table and hop."""
    num_hops: PositiveInt = 3
    """Hops from the seeds."""
    max_children: PositiveInt = 256
    """Most children per row and key that enter the budget; where more are visible, each is as likely. Four times what a hop draws leaves
    the draw all choice, and the cost of a hub does not grow with the database."""
    time_bound: Literal["cutoff", "seeds"] = "cutoff"
    """Rows that a sample sees: 'cutoff' (paper), all rows up to the cutoff; or 'seeds', rows strictly before its latest seed, the seeds, and those of
    their parents that exist by then. The seeds of a sample are then neighbours in time."""

    def __post_init__(self) -> None:
        if self.seeds == "all_tables" and self.seed_table is not None:
            raise ValueError(f"HGSamplingConfig.seed_table={self.seed_table!r} contradicts seeds='all_tables'")


@checked
class TemporalSamplingConfig:
    """Depth and width of the tree of a task's entity."""

    num_neighbors: tuple[PositiveInt, ...] = (128, 64)
    """Children per row and key, hop by hop (as in PyG). None at all: the seeds alone, for a backbone without layers."""
    strategy: Literal["uniform", "recent"] = "uniform"
    """'uniform' (paper), or 'recent': the latest children first."""
    time_window_s: PositiveInt | None = None
    """Seconds; children with a time column must lie in [seed time - time_window_s, seed time). None: the whole past."""
