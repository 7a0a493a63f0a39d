"""The form of the model: how cells become a row's vector, how a row's neighbours are aggregated, and the backbone around both.

Each choice is a small union of dataclasses, told apart by `kind`; `build` makes the module, and loads torch only then. Where a configuration is
made, the kind's name alone stands for its defaults: `BackboneConfig(rows="linear")`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from rdl_core.config.decoding import checked
from rdl_core.config.statistics import ColumnsConfig, StatisticsConfig

if TYPE_CHECKING:
    from torch.nn import Module

    from rdl_core.graph.schema import TableSchema
    from rdl_core.model.aggregation import Aggregation

RowsKind = Literal["linear", "resnet", "ft_transformer"]
AggregationKind = Literal["sum", "mean", "time_attention", "temporal_kernels"]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
FT_TRANSFORMER_HEADS = 8
"""Attention heads that PyTorch Frame's FTTransformer has."""


class _Rows:
    def build(self, schema: TableSchema, channels: int) -> Module:
        """Returns the row encoder of a table: TensorFrame -> [rows, channels]."""
        from rdl_core.model.row_encoder import make_row_encoder  # noqa: PLC0415

        return make_row_encoder(schema, channels, self)  # type: ignore[arg-type]


@checked
class LinearRows(_Rows):
    """One linear map on the concatenated cell vectors of a row."""

    kind: Literal["linear"] = "linear"
    """The way in which a row becomes a vector: 'linear', 'resnet' or 'ft_transformer'."""
    rich_numbers: bool = False
    """Take small integers as numbers beside categories, and skewed numbers as their logarithms, too."""


@checked
class ResNetRows(_Rows):
    """A tabular ResNet on the concatenated cell vectors (Gorishniy et al. 2021), as PyTorch Frame has it."""

    kind: Literal["resnet"] = "resnet"
    """The way in which a row becomes a vector: 'linear', 'resnet' or 'ft_transformer'."""
    num_layers: PositiveInt = 4
    """Residual blocks."""
    dropout: Dropout = 0.0
    """Probability that a channel is dropped in training."""
    rich_numbers: bool = False
    """Take small integers as numbers beside categories, and skewed numbers as their logarithms, too."""


@checked
class FTTransformerRows(_Rows):
    """A transformer over the cell vectors of a row (Gorishniy et al. 2021), as PyTorch Frame has it."""

    kind: Literal["ft_transformer"] = "ft_transformer"
    """The way in which a row becomes a vector: 'linear', 'resnet' or 'ft_transformer'."""
    num_layers: PositiveInt = 2
    """Transformer layers."""
    dropout: Dropout = 0.0
    """Probability that a channel is dropped in training; attention weights are not."""
    rich_numbers: bool = False
    """Take small integers as numbers beside categories, and skewed numbers as their logarithms, too."""


RowsConfig = LinearRows | ResNetRows | FTTransformerRows


@checked
class SumAggregation:
    """The sum of the vectors of a row's neighbours along one key (paper)."""

    kind: Literal["sum"] = "sum"
    """The aggregation of neighbours: 'sum', 'mean', 'time_attention' or 'temporal_kernels'."""

    def build(self, channels: int) -> Aggregation:
        """Returns the module of one edge type."""
        from rdl_core.model.aggregation import Sum  # noqa: PLC0415

        return Sum(channels)


@checked
class MeanAggregation:
    """The mean of the vectors of a row's neighbours along one key."""

    kind: Literal["mean"] = "mean"
    """The aggregation of neighbours: 'sum', 'mean', 'time_attention' or 'temporal_kernels'."""

    def build(self, channels: int) -> Aggregation:
        """Returns the module of one edge type."""
        from rdl_core.model.aggregation import Mean  # noqa: PLC0415

        return Mean(channels)


@checked
class TimeAttentionAggregation:
    """Attention over the neighbours along one key, which knows how old each is."""

    kind: Literal["time_attention"] = "time_attention"
    """The aggregation of neighbours: 'sum', 'mean', 'time_attention' or 'temporal_kernels'."""
    heads: PositiveInt = 4
    """Attention heads; they divide the channels."""

    def build(self, channels: int) -> Aggregation:
        """Returns the module of one edge type."""
        from rdl_core.model.aggregation import TimeAttention  # noqa: PLC0415

        return TimeAttention(channels, self.heads)


@checked
class TemporalKernelsAggregation:
    """Several views of the neighbours along one key, the most recent first: the latest, means that decay with the rank, the mean and the maximum."""

    kind: Literal["temporal_kernels"] = "temporal_kernels"
    """The aggregation of neighbours: 'sum', 'mean', 'time_attention' or 'temporal_kernels'."""
    half_lives: Annotated[tuple[PositiveFloat, ...], Field(strict=False)] = (1.0, 4.0)  # a list, where JSON is read
    """Ranks after which a neighbour's weight has halved, one decaying mean each."""

    def build(self, channels: int) -> Aggregation:
        """Returns the module of one edge type."""
        from rdl_core.model.aggregation import TemporalKernels  # noqa: PLC0415

        return TemporalKernels(channels, self.half_lives)


AggregationConfig = SumAggregation | MeanAggregation | TimeAttentionAggregation | TemporalKernelsAggregation


def _by_name(*kinds: Any) -> Callable[[Any], Any]:
    """Returns what makes a kind of its name, and leaves all else as it is."""
    named = {kind.kind: kind for kind in kinds}

    def kind_of(value: Any) -> Any:
        if isinstance(value, str) and value not in named:
            raise ValueError(f"it should be {' or '.join(map(repr, named))}")
        return named[value]() if isinstance(value, str) else value

    return kind_of


@checked
class BackboneConfig:
    """Size and form of the backbone."""

    channels: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Length of every vector (even)."""
    num_layers: NonNegativeInt = 2
    """Layers of message passing (paper: 2 or 3). 0: a row knows of others by `statistics` and `columns` alone."""
    aggregation: Annotated[
        AggregationConfig,
        Field(discriminator="kind"),
        BeforeValidator(
            _by_name(SumAggregation, MeanAggregation, TimeAttentionAggregation, TemporalKernelsAggregation)
        ),
    ] = MeanAggregation()
    """The aggregation of the neighbours of a row along one key."""
    residual: bool = False
    """Let a layer add to a row's vector what it makes of it, before the norm, and not take its place (GraphSAGE)."""
    age_scale: Literal["days", "log_days"] = "log_days"
    """The form in which relative time encodes a row's age: 'days' (RelBench), or 'log_days', which tells yesterday from last week and two years
    from three, but not every day from the next."""
    rows: Annotated[
        RowsConfig, Field(discriminator="kind"), BeforeValidator(_by_name(LinearRows, ResNetRows, FTTransformerRows))
    ] = ResNetRows(dropout=0.2)
    """The way in which a row becomes a vector."""
    statistics: StatisticsConfig | None = None
    """Exact statistics of each row's children before the question, an input of every node of a question's tree. None: no such input. Contrastive
    pretraining reads none: they would tell which links it hides. A preset says whether there are any."""
    columns: ColumnsConfig | None = None
    """Columns composed along key paths, beside the vector of the row that a question is about. None: no such input. A preset says whether
    there are any."""
    seed_cells: bool = True
    """Let the row encoder read the row itself that a question is about. Where its cells tell it from all others (a name, a code), labels are
    learned by heart; `columns` hold its numbers and frequent categories in any case."""
    columns_channels: PositiveInt = 128
    """Hidden channels of what reads those columns."""
    columns_input_dropout: Dropout = 0.1
    """Probability that a column is dropped in training."""
    columns_dropout: Dropout = 0.2
    """Probability that one of these hidden channels is dropped in training."""
    row_encoder: str | None = None
    """Name of a row encoder of one's own, in the place of `rows` (docs/python.md). None: `rows`."""
    gnn: str | None = None
    """Name of a graph network of one's own, in the place of the layers of message passing; it is told `num_layers` (docs/python.md). None: these
    layers."""

    def __post_init__(self) -> None:
        if self.aggregation.kind == "time_attention" and self.channels % self.aggregation.heads:
            raise ValueError(
                f"BackboneConfig.aggregation.heads is {self.aggregation.heads}; it should divide channels={self.channels}"
            )
        if self.rows.kind == "ft_transformer" and self.channels % FT_TRANSFORMER_HEADS:
            raise ValueError(
                f"BackboneConfig.channels is {self.channels}; with rows='ft_transformer' it should be a multiple of {FT_TRANSFORMER_HEADS}"
            )

    @property
    def newest_first(self) -> bool:
        """Tells whether the aggregation reads the neighbours in the order of time, the most recent first."""
        return self.aggregation.kind == "temporal_kernels"

    def of_kind(self, *, rows: RowsKind | None = None, aggregation: AggregationKind | None = None) -> BackboneConfig:
        """Returns the backbone with rows and aggregation of these kinds; a kind that it already has keeps its settings."""
        changes: dict[str, Any] = {}
        if rows not in (None, self.rows.kind):
            changes["rows"] = rows
        if aggregation not in (None, self.aggregation.kind):
            changes["aggregation"] = aggregation
        return dataclasses.replace(self, **changes)
