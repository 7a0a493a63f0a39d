"""Cells whose numbers say more than one thing: small integers are number and category, skewed numbers have a logarithm.

    small integer   e_c = (its category's vector) + w_c z          z: the number in standard deviations from its mean
    skewed number   e_c = v_c z + w_c l + b_c                      l: its signed logarithm, in the same way

Promises: as in cell_encoders.py; what is no number, or is not skewed, is encoded as there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding

from rdl_core.graph.schema import ColumnSchema
from rdl_core.model.cell_encoders import NullableLinearEncoder, PlainEmbeddingEncoder

INITIAL_SCALE = 0.01
"""Standard deviation of first weights, that of PyTorch Frame's LinearEncoder."""


class RichLinearEncoder(NullableLinearEncoder):
    """Numbers with their logarithms; `columns` are to be set first."""

    columns: tuple[ColumnSchema, ...]
    log_mean: Tensor
    log_std: Tensor
    is_skewed: Tensor

    def init_modules(self) -> None:
        """Makes the parameters, once PyTorch Frame has said of which columns."""
        self.log_weight = torch.nn.Parameter(torch.empty(len(self.columns), self.out_channels))
        super().init_modules()
        self.register_buffer("log_mean", torch.tensor([c.log_mean for c in self.columns]), persistent=False)
        self.register_buffer("log_std", torch.tensor([c.log_std for c in self.columns]), persistent=False)
        self.register_buffer("is_skewed", torch.tensor([c.is_skewed for c in self.columns]), persistent=False)

    def reset_parameters(self) -> None:
        """Draws first weights."""
        super().reset_parameters()
        torch.nn.init.normal_(self.log_weight, std=INITIAL_SCALE)

    def numbers_and_parameters(self, feat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns (standardised value, 1 and logarithm, zeros for null [rows, columns, 3], their parameters [columns, 3, channels])."""
        numbers, parameters = super().numbers_and_parameters(feat, dtype)
        log = (feat.sign() * feat.abs().log1p() - self.log_mean) / self.log_std
        log = log.masked_fill(feat.isnan() | ~self.is_skewed, 0.0).to(dtype)
        return torch.cat([numbers, log.unsqueeze(2)], dim=2), torch.cat([parameters, self.log_weight.unsqueeze(1)], 1)


class RichEmbeddingEncoder(PlainEmbeddingEncoder):
    """Categories that may be numbers, too; `columns` are to be set first."""

    columns: tuple[ColumnSchema, ...]
    numbers: Tensor
    column: Tensor

    def init_modules(self) -> None:
        """Makes the parameters, once PyTorch Frame has said of which columns."""
        self.weight = torch.nn.Parameter(torch.empty(len(self.columns), self.out_channels))
        super().init_modules()
        numbers, column = [0.0], [0]  # of null
        for j, schema in enumerate(self.columns):
            z = [(float(c) - schema.mean) / schema.std if schema.is_ordinal else 0.0 for c in schema.categories]
            numbers, column = numbers + z, column + [j] * len(z)
        self.register_buffer("numbers", torch.tensor(numbers), persistent=False)
        self.register_buffer("column", torch.tensor(column), persistent=False)

    def reset_parameters(self) -> None:
        """Draws first weights."""
        super().reset_parameters()
        torch.nn.init.normal_(self.weight, std=INITIAL_SCALE)

    def vectors(self) -> Tensor:
        """Returns the vector of each category of each column, null first: [1 + categories, channels]."""
        return self.emb.weight + self.numbers.to(self.weight.dtype).unsqueeze(1) * embedding(self.column, self.weight)
