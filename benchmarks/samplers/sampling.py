"""HGSampling and temporal sampling measured: `python benchmarks/samplers/sampling.py --quick --json`.

Prints one table with its conditions (stderr); with --json the last line of stdout is one JSON object. What is compared is taken in turns in the
same run, as medians. Links are checked against a join of the Parquet files. Needs ../shared/data/{rel-f1,rel-retail} or --data.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, this folder is the first of the path

from benchmarks.samplers import local  # noqa: E402
from benchmarks.samplers.databases import GeneratedDatabase, shop, write_store  # noqa: E402
from benchmarks.samplers.peer import HOW_TO_INSTALL, HGTSample, installed  # noqa: E402
from benchmarks.samplers.ray_pipeline import SAMPLERS, pipeline_rate  # noqa: E402
from benchmarks.samplers.sharded import BATCH, sharded_rate  # noqa: E402
from benchmarks.timing import conditions  # noqa: E402
from distributed.console import console  # noqa: E402
from rdl_core.config import HGSamplingConfig, TemporalSamplingConfig  # noqa: E402
from rdl_core.database.dataset import open_dataset  # noqa: E402
from rdl_core.graph.materialization import materialize  # noqa: E402
from rdl_core.graph.store import Store  # noqa: E402
from rdl_core.sampling.hg_sampling import HGSampling  # noqa: E402
from rdl_core.sampling.temporal_sampling import TemporalSampling  # noqa: E402

PAPER = HGSamplingConfig()  # 64 seeds, 64 rows per table and hop, 3 hops
LARGE_ROWS, SMALL_ROWS = 20_000_000, 200_000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Options:
    """HGSampling and temporal sampling, measured."""

    data: Path = Path("../shared/data")
    """Folder with rel-f1 and rel-retail."""
    quick: bool = False
    """Fewer rounds; under two minutes on two cores."""
    json: bool = False
    """End with one line of JSON on stdout."""
    large_rows: int = LARGE_ROWS
    """Rows of the large generated database."""

    @property
    def rounds(self) -> int:
        return 11 if self.quick else 41

    @property
    def executions(self) -> int:
        return 1 if self.quick else 3


@dataclass
class Findings:
    """Lines of the table and the JSON object, filled part by part."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, found: str, how: str = "") -> None:
        """Adds a line of the table and prints it at once, so that a long run shows where it is."""
        self.lines.append((what, found, how))
        console.print(f"{what}: {found}", highlight=False, markup=False)


def main(options: Options) -> dict[str, Any]:
    """Measures everything, prints the table, returns what --json prints."""
    said = conditions()
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        stores = Path(folder)
        f1 = measure_real(findings, options, stores)
        large = measure_size(findings, options)
        measure_pipeline(findings, options, f1, write_store(large, stores))
        measure_sharded(findings, options, stores, f1)
        ray.shutdown()
    table = Table(title=f"sampling\n{said}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("what", "measured", "conditions"):
        table.add_column(name, justify="right" if name == "measured" else "left")
    for line in findings.lines:
        table.add_row(*line)
    console.print(table)
    return findings.result


def measure_real(findings: Findings, options: Options, stores: Path) -> Store:
    """Measures rel-f1 and rel-retail beside the peer, links, threads and temporal trees; returns the store of rel-f1."""
    has_peer = installed()
    for name, seed_table in (("rel-retail", None), ("rel-f1", "results")):
        dataset = open_dataset(options.data.resolve() / name)
        store = materialize(dataset, stores)
        sampler = open_at_cutoff(store, seed_table)
        peer = None
        if has_peer:
            peer = HGTSample(store.graph, PAPER, seed_table=sampler.seeds.table, before_s=sampler.before_s)
        rate = local.rate(sampler, peer, rounds=options.rounds)
        ours, theirs = local.links_lost(dataset, sampler, peer, 50 if options.quick else 200)
        how = f"64 rows per table and hop, 3 hops, 64 seeds of {sampler.seeds.table}, rows up to the cutoff, one core"
        findings.add(f"{name}: subgraphs/s", f"{rate.subgraphs_per_s:,.0f}", how)
        findings.add(f"{name}: rows/s", f"{rate.rows_per_s:,.0f}")
        findings.add(f"{name}: bytes per subgraph", f"{rate.bytes_per_subgraph:,.0f}", "packed for transport")
        if rate.peer_subgraphs_per_s is None:
            findings.add(f"{name}: times torch-sparse", "-", HOW_TO_INSTALL)
        else:
            note = "raw hgt_sample, same seeds and sizes, in turns"
            findings.add(f"{name}: torch-sparse subgraphs/s", f"{rate.peer_subgraphs_per_s:,.1f}", note)
            findings.add(f"{name}: times torch-sparse", f"{rate.ratio:.1f}", "medians of the same run")
        findings.add(f"{name}: links lost", f"{ours.lost} of {ours.true:,}", f"join of the files; {ours.wrong} wrong")
        if theirs is not None:
            lost = f"{theirs.lost / theirs.true:.1%}"
            findings.add(f"{name}: torch-sparse links lost", lost, "of its edges child → parent")
    section = {"subgraphs_per_s": rate.subgraphs_per_s, "rows_per_s": rate.rows_per_s}
    findings.result["rel_f1"] = {**section, "links_lost": ours.lost, "ratio_to_torch_sparse": rate.ratio}
    measure_temporal(findings, options, dataset, store, sampler, peer)
    findings.result["threads_2_over_1"] = threads = local.two_threads(sampler, rounds=options.rounds)
    findings.add("rel-f1: 2 threads over 1", f"{threads:.2f}", "in turns; load of other processes counts against it")
    return store


def measure_temporal(
    findings: Findings, options: Options, dataset: Any, store: Store, beside: HGSampling, peer: HGTSample | None
) -> None:
    """Measures trees for driver-position."""
    trees = TemporalSampling(store.graph, TemporalSamplingConfig(num_neighbors=(128, 64)), seed=SEED)
    batches, peer_rate, share = local.temporal(dataset, "driver-position", trees, beside, peer, rounds=options.rounds)
    ratio = None if peer_rate is None else batches / peer_rate
    findings.add("temporal: batches/s", f"{batches:,.1f}", "driver-position, 512 seeds, 128 + 64 neighbours, uniform")
    findings.add("temporal: times hgt_sample's rate", "-" if ratio is None else f"{ratio:.2f}", "parity at 2.8")
    findings.add("temporal: distinct rows", f"{share:.1%}", "of all rows of a batch's trees")
    findings.result["temporal"] = {
        "batches_per_s": batches,
        "ratio_to_hgt_sample": ratio,
        "distinct_share": share,
    }


def measure_size(findings: Findings, options: Options) -> GeneratedDatabase:
    """Measures the large generated database against the small one; returns the large one."""
    large, small = shop(options.large_rows, seed=SEED), shop(SMALL_ROWS, seed=SEED)
    sampler = open_generated(large)
    large_s, small_s = local.growth(sampler, open_generated(small), rounds=options.rounds)
    shape = f"{large.rows:,} rows, {large.num_keys:,} keys, power-law hubs"
    findings.add("large: subgraphs/s", f"{1 / large_s:,.0f}", f"{shape}, one core")
    findings.add("small: subgraphs/s", f"{1 / small_s:,.0f}", f"{small.rows:,} rows of the same shape, in turns")
    findings.add("large over small, time per subgraph", f"{large_s / small_s:.2f}")
    threads = local.two_threads(sampler, rounds=options.rounds)
    findings.add("large: 2 threads over 1", f"{threads:.2f}")
    findings.result["growth_20m_over_200k"] = large_s / small_s
    return large


def measure_pipeline(findings: Findings, options: Options, f1: Store, large: Store) -> None:
    """Measures the pipeline of Ray Data for each store."""
    shares = {}
    for name, key, store, seed_table, seconds in (
        ("rel-f1", "rel_f1_share_lost", f1, "results", 8.0),
        ("large", "large_share_lost", large, None, 22.0),
    ):
        config = HGSamplingConfig(seed_table=seed_table)
        found = pipeline_rate(store, config, seed=SEED, seconds=seconds, rounds=options.executions)
        how = f"{found.samples:,} samples, {SAMPLERS} samplers on 2 cores; bare {found.bare_subgraphs_per_s:,.0f}"
        findings.add(f"{name}: subgraphs/s through Ray Data", f"{found.subgraphs_per_s:,.0f}", how)
        findings.add(f"{name}: share lost in Ray Data", f"{found.share_lost:.0%}")
        shares[key] = found.share_lost
    findings.result["ray_data"] = shares


def measure_sharded(findings: Findings, options: Options, stores: Path, f1: Store) -> None:
    """Measures two and four shards of rel-f1, rel-retail and a generated database, in the session of the pipeline."""
    retail = materialize(open_dataset(options.data.resolve() / "rel-retail"), stores)
    generated = write_store(shop(SMALL_ROWS, seed=SEED), stores)
    all_found = []
    for name, store, seed_table in (
        ("rel-f1", f1, "results"),
        ("rel-retail", retail, None),
        ("small", generated, None),
    ):
        if options.quick and name == "small":
            continue
        for num_shards in (4,) if options.quick and name == "rel-retail" else (2, 4):
            sampler = open_at_cutoff(store, seed_table)
            found = sharded_rate(store, sampler, num_shards=num_shards, batches=2 if options.quick else 10)
            all_found.append((num_shards, found))
            how = f"{'bit-equal' if found.equal else 'NOT EQUAL'}, {found.rounds} rounds per batch of {BATCH}, largest shard {found.memory_share:.0%}"
            findings.add(f"{name}: subgraphs/s, {num_shards} shards", f"{found.subgraphs_per_s:,.0f}", how)
    findings.result["sharded"] = {
        "equal": all(f.equal for _, f in all_found),
        "rounds": max(f.rounds for _, f in all_found),
        "memory_share_at_4": max(f.memory_share for n, f in all_found if n == 4),
    }


def open_at_cutoff(store: Store, seed_table: str | None) -> HGSampling:
    """Returns the paper's sampler for a store up to its cutoff."""
    config = HGSamplingConfig(seed_table=seed_table)
    return HGSampling(store.graph, config, seed=SEED, before_s=store.schema.cutoff_s + 1)


def open_generated(database: GeneratedDatabase) -> HGSampling:
    """Returns the paper's sampler for a generated database up to its cutoff."""
    return HGSampling(database.graph, PAPER, seed=SEED, before_s=database.cutoff_s + 1)


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    measured = main(chosen)
    if chosen.json:
        print(json.dumps(measured))
