"""Ray Data around the core's samplers: where the graph is, who samples what, and samples as Parquet.

The samples are the same bits whatever the placement, the number of samplers and the number of workers.
"""

from distributed.sampling.export import export_samples
from distributed.sampling.placement import Placement, place
from distributed.sampling.plan import StepPlan, step_plan
from distributed.sampling.sampler import HGSampler, sampled_dataset

__all__ = ["HGSampler", "Placement", "StepPlan", "export_samples", "place", "sampled_dataset", "step_plan"]
