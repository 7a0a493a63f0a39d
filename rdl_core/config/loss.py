"""The form of the contrastive loss: what the paper's text leaves open, and what goes beyond it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from rdl_core.config.decoding import checked


@checked
class LossConfig:
    """The form of each level of the loss."""

    row_form: Literal["equation", "code"]
    """'equation' (Eq. 1: h_corrupted_u^T W h_v) or 'code' (authors' code: (W h_corrupted_u) . (W h_v))."""
    link_matrix: Literal["per_direction", "shared"]
    """One W 'per_direction' of each foreign key (Eq. 2), or one 'shared': W for child -> parent and its transpose for parent -> child (authors'
    code)."""
    skip_edge_type_without_negative: bool
    """Within a sample, leave a directed edge type out entirely if the anchor of some input has no negative (authors' code)."""
    context_form: Literal["neighbours", "edge_types"]
    """c_v is the mean over all source 'neighbours' (Eq. 3), or the mean per directed edge type and then over the 'edge_types' that v has (authors'
    code)."""
    context_bias: bool
    """The context maps have a bias, zero at the start."""
    initial_scale: Annotated[float, Field(gt=0.0)]
    """Every matrix starts normal with standard deviation initial_scale / sqrt(channels). At exactly 0 the rows would get no gradient from any
    level."""
    max_negatives: PositiveInt = 256
    """Most negatives per input; where there are more, a random choice keyed by (seed, epoch, sample, row)."""
