"""The second view, the hidden links and relative time in pretraining."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rdl_core.config.decoding import checked

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


@checked
class CorruptionConfig:
    """The second view and the hidden links."""

    probability: Probability = 0.4
    """Probability that a cell is replaced."""
    distribution: Literal["distinct", "frequency"] = "frequency"
    """Replacements are drawn from a column's 'distinct' values, or by their 'frequency' (SCARF)."""
    target_link_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of links hidden from message passing, which alone are the targets of the link and context levels. 0: all links are targets and none is
    hidden (paper)."""
    relative_time: bool = False
    """Add, in pretraining, to each row's vector how old it is, relative to the newest row of its sample. Aggregation 'time_attention' sees the
    ages of neighbours in any case."""
