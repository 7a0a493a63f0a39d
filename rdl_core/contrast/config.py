"""Which form the contrastive loss takes: what the paper's text leaves open, and what goes beyond it."""

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Which form of each level.

    row_form: "equation" (Eq. 1: h_corrupted_u^T W h_v) or "code" (authors' code: (W h_corrupted_u) . (W h_v)).
    link_matrix: one W "per_direction" of each foreign key (Eq. 2), or one "shared": W for child -> parent and its
    transpose for parent -> child (authors' code).
    skip_edge_type_without_negative: within a sample, leave a directed edge type out entirely if the anchor of some
    input has no negative (authors' code).
    context_form: c_v is the mean over all source "neighbours" (Eq. 3), or the mean per directed edge type and then over
    the "edge_types" that v has (authors' code). context_bias: the context maps have a bias, zero at the start.
    negatives: come from "within_sample" (the paper: a mini-batch is one subgraph), or are "gathered" from all samples of
    a step on all workers, with gradient. Gathered, no copy of a row that the anchor is or is linked to in the database is a
    negative of it, in whatever sample; inputs are the same, and their negatives too whatever the number of workers.
    max_negatives: most negatives per input; where there are more, a random choice keyed by (seed, epoch, sample, row).
    initial_scale: every matrix starts normal with standard deviation
    initial_scale / sqrt(channels).
    """

    row_form: Literal["equation", "code"]
    link_matrix: Literal["per_direction", "shared"]
    skip_edge_type_without_negative: bool
    context_form: Literal["neighbours", "edge_types"]
    context_bias: bool
    initial_scale: float
    max_negatives: int = 256
    negatives: Literal["within_sample", "gathered"] = "within_sample"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if get_args(field.type) and value not in get_args(field.type):
                raise ValueError(f"LossConfig.{field.name} is {value!r}; choose one of {get_args(field.type)}.")
            if field.type is bool and not isinstance(value, bool):
                raise ValueError(f"LossConfig.{field.name} is {value!r}; set it to True or False.")
        if not isinstance(self.max_negatives, int) or isinstance(self.max_negatives, bool) or self.max_negatives < 1:
            raise ValueError(f"LossConfig.max_negatives is {self.max_negatives!r}; set a whole number of at least 1.")
        if not (math.isfinite(self.initial_scale) and self.initial_scale > 0):
            raise ValueError(
                f"LossConfig.initial_scale is {self.initial_scale!r}; set a finite number above 0 (at exactly 0 the "
                "rows get no gradient from any level)."
            )
