"""The three contrastive levels as sums over inputs, with their gradient computed on the way.

In: rows, which a `SampleLayout` pads to [num_samples, max_rows, channels], their matrices, and which pairs (anchor, candidate) are positive. Out: a
`LossSum` per level: the sum over inputs of L / mu with mu = log(number of negatives + 1) of that input, and the number of inputs. 1.0 is chance.

Invariants: negatives never leave their sample, so the sum of a batch of samples is the sum of their sums. An input without a negative leaves both
total and count. No exponential is taken outside a log-sum-exp, and masked logits are the smallest finite number, not -inf, so that no gradient
is ever NaN.
Cost: the loss is a plain sum, so its gradient with respect to logits is known as soon as the logits are: with n = log-sum-exp of v's negatives,
s = sigmoid(n - positive) / mu summed over v's inputs, d logits[v, w] = s exp(logits[v, w] - n). The logits are dropped at once; what is kept is as
large as the rows, per level. All tables and keys are one autograd node; its backward pass multiplies by what comes from above, level by level.
Source: arXiv 2506.22530, Eq. 1-6. A row u joined to v by two keys counts twice in the mean of Eq. 3, once per link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rdl_core.batches.sample_layout import SampleLayout
from rdl_core.contrast.columns import by_columns
from rdl_core.contrast.contrast import contrast
from rdl_core.contrast.dense import Number, block
from rdl_core.contrast.pairs import Pairs
from rdl_core.kernels.linear import product
from rdl_core.kernels.product_kernels import HAS_KERNEL

LEVELS = ("row", "link", "context")
Name = tuple[int, int]
"""The ids, in the parts, of a tensor and of its layout, which a matrix has not: 0. Two tables may share their rows, but no layout."""
Named = dict[Name, Tensor]


@dataclass(frozen=True)
class LossSum:
    """The sum over inputs of L / mu (0-dim) and their number: added over tables, samples and ranks, divided once."""

    total: Tensor
    count: Tensor | int

    def __add__(self, other: LossSum) -> LossSum:
        return LossSum(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """total / count; 0 with its graph kept when there is no input."""
        return self.total / (self.count.clamp(min=1) if isinstance(self.count, Tensor) else max(1, self.count))


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One table or key of a level: logits[s, v, u] = a[s, v] . c[s, u], where a and c are rows x, or x W^T.

    Args:
        level: Of LEVELS.
        anchors, candidates: [rows, channels], float32 or float64; x and a, c are these in the grids of `pairs`.
        of_anchors, of_candidates: Their matrices W [channels, channels], or None.
        pairs: Which are positive.
        both_ways: Adds the loss of `pairs.turned()` on the same logits.
    """

    level: str
    anchors: Tensor
    candidates: Tensor
    of_anchors: Tensor | None
    of_candidates: Tensor | None
    pairs: Pairs
    both_ways: bool = False

    @property
    def is_small(self) -> bool:
        """Whether all logits are made at once."""
        return self.pairs.is_small and (not self.both_ways or self.pairs.turned().is_small)


def contrasts(parts: Sequence[Contrast]) -> dict[str, LossSum]:
    """Per level the loss of its parts. In loops, for each part:

    for position, (v, u) in enumerate(pairs):  # v's sample is s
        if is_target[position]:
            negatives = [w for w in candidates(s) if (v, w) not in pairs]
            if is_self_reference:
                negatives = [w for w in negatives if w != v]
            negatives = sorted(negatives, key=rank)[:max_negatives]
            if not negatives and skip_without_negative:
                skipped_samples.add(s)
            inputs.append((s, v, u, negatives))
    for s, v, u, negatives in inputs:
        if negatives and s not in skipped_samples:
            denominator = exp(logits[s, v, u]) + sum(exp(logits[s, v, w]) for w in negatives)
            total += -log(exp(logits[s, v, u]) / denominator) / log(len(negatives) + 1)
            count += 1
    """
    tensors: Named = {}
    layouts: dict[Name, SampleLayout | None] = {}
    for part in parts:
        sides = ((part.anchors, part.pairs.anchors), (part.candidates, part.pairs.candidates))
        for x, layout in (*sides, (part.of_anchors, None), (part.of_candidates, None)):
            if x is not None:
                name = _name(x, layout)
                tensors[name], layouts[name] = x, layout
    totals, counts = _Contrasts.apply(parts, layouts, torch.is_grad_enabled(), *tensors.values())
    both = zip(LEVELS, totals.unbind(), counts.unbind(), strict=True)
    return {level: LossSum(total, count) for level, total, count in both}


def _name(x: Tensor, layout: SampleLayout | None) -> Name:
    return id(x), 0 if layout is None else id(layout)


class _Contrasts(Function):
    @staticmethod
    def forward(
        ctx: Any,
        parts: Sequence[Contrast],
        layouts: dict[Name, SampleLayout | None],
        with_gradient: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """layouts: of each tensor."""
        totals: list[Number] = [0.0] * len(LEVELS)
        counts: list[Number] = [0] * len(LEVELS)
        named = {
            name: _dense(x if layout is None else layout.pad(x))
            for (name, layout), x in zip(layouts.items(), tensors, strict=True)
        }
        grads: dict[str, Named] = {level: {} for level in LEVELS}
        is_plain = HAS_KERNEL and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors)
        for part in parts:
            by = _by_kernel if is_plain and part.is_small else _by_operations
            total, count = by(part, named, grads[part.level] if with_gradient else None)
            level = LEVELS.index(part.level)
            totals[level], counts[level] = totals[level] + total, counts[level] + count
        ctx.layouts = layouts
        ctx.kept = {level: list(of_level) for level, of_level in grads.items()}
        ctx.save_for_backward(*(grad for of_level in grads.values() for grad in of_level.values()))
        device = tensors[0].device
        total = torch.stack([torch.as_tensor(x, dtype=torch.float64, device=device) for x in totals])
        count = torch.stack([torch.as_tensor(x, dtype=torch.int64, device=device) for x in counts])
        ctx.mark_non_differentiable(count)
        return total.to(tensors[0].dtype), count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_totals: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved = iter(ctx.saved_tensors)
        sums: Named = {}
        for level, from_above in zip(LEVELS, grad_totals.unbind(), strict=True):
            for name in ctx.kept[level]:
                kept = next(saved)
                sums[name] = sums[name].addcmul_(kept, from_above) if name in sums else kept * from_above
        both = ((layout, sums[name]) for name, layout in ctx.layouts.items())
        return None, None, None, *(grad if layout is None else layout.unpad(grad) for layout, grad in both)


def _dense(x: Tensor) -> Tensor:
    """Rows lie one after another; a matrix may lie across."""
    return x if x.dim() == 2 and x.T.is_contiguous() else x.contiguous()


def _by_kernel(part: Contrast, named: Named, grads: Named | None) -> tuple[Number, Number]:
    """(total, count) of one part; adds to the gradients that are wanted."""
    pairs = part.pairs
    anchors = _side(pairs.anchors, part.anchors, part.of_anchors, named, grads)
    candidates = _side(pairs.candidates, part.candidates, part.of_candidates, named, grads)
    is_target = pairs.is_candidate.new_empty(0) if pairs.is_target is None else pairs.is_target.contiguous()
    total, count, _ = contrast(
        pairs.anchors.num_samples, part.anchors.shape[1], anchors, candidates, pairs.anchor.contiguous().numpy(),
        pairs.candidate.contiguous().numpy(), is_target.numpy(), pairs.anchors.is_row.numpy(), pairs.is_candidate.numpy(),
        pairs.is_self_reference, pairs.skip_without_negative, part.both_ways, grads is not None,
    )  # fmt: skip
    return total, count


def _side(layout: SampleLayout, x: Tensor, matrix: Tensor | None, named: Named, grads: Named | None) -> tuple[int, ...]:
    """As loss_contrast.py takes it; makes room for gradients."""
    at_x, of_x, is_x_added = _addresses(_name(x, layout), named, grads)
    if matrix is None:
        return layout.max_rows, at_x, 0, 0, of_x, is_x_added, 0, 0
    name = _name(matrix, None)
    at_matrix, of_matrix, is_matrix_added = _addresses(name, named, grads)
    is_across = int(not named[name].is_contiguous())
    return layout.max_rows, at_x, at_matrix, is_across, of_x, is_x_added, of_matrix, is_matrix_added


def _addresses(name: Name, named: Named, grads: Named | None) -> tuple[int, int, int]:
    """Of the values, of their gradient, and whether there is one already."""
    if grads is None:
        return named[name].data_ptr(), 0, 0
    is_added = name in grads
    if not is_added:
        grads[name] = torch.empty_like(named[name])
    return named[name].data_ptr(), grads[name].data_ptr(), int(is_added)


def _by_operations(part: Contrast, named: Named, grads: Named | None) -> tuple[Number, Number]:
    """As `_by_kernel`."""
    a, c = _name(part.anchors, part.pairs.anchors), _name(part.candidates, part.pairs.candidates)
    of_a, of_c = (None if w is None else _name(w, None) for w in (part.of_anchors, part.of_candidates))
    mapped_a, mapped_c = (_mapped(named[x], None if m is None else named[m]) for x, m in ((a, of_a), (c, of_c)))
    total, count, *both = _one(mapped_a, mapped_c, part, grads is not None)
    if grads is not None:
        _add_gradients(grads, named, a, of_a, both[0])
        _add_gradients(grads, named, c, of_c, both[1])
    return total, count


def _mapped(x: Tensor, matrix: Tensor | None) -> Tensor:
    """x matrix^T."""
    if matrix is None:
        return x
    return product(x.flatten(0, 1), matrix).view(x.shape)


def _add_gradients(grads: Named, named: Named, x: Name, matrix: Name | None, grad: Tensor) -> None:
    """Adds what the gradient of x matrix^T gives for x and the matrix to what is there."""
    if matrix is not None:
        rows, w = grad.flatten(0, 1), named[matrix]
        grads[matrix] = product(rows.T, named[x].flatten(0, 1).T, out=grads.get(matrix), is_added=matrix in grads)
        grad = product(rows, w.T).view(grad.shape)
    grads[x] = grads[x].add_(grad) if x in grads else grad


def _one(a: Tensor, c: Tensor, part: Contrast, with_gradient: bool) -> tuple[Any, ...]:
    """(total, count, and with_gradient the gradients of a and c) of one part."""
    if part.is_small:
        total, count, weights = block(_times(a, c.mT), part.pairs, part.both_ways)
        return (total, count, _times(weights, c), _times(weights.mT, a)) if with_gradient else (total, count)
    total, count, *gradients = by_columns(a, c, part.pairs, with_gradient)
    if part.both_ways:
        total_2, count_2, *turned = by_columns(c, a, part.pairs.turned(), with_gradient)
        total, count = total + total_2, count + count_2
        gradients = [x.add_(y) for x, y in zip(gradients, reversed(turned), strict=True)]
    return total, count, *gradients


def _times(x: Tensor, y: Tensor) -> Tensor:
    """x y, sample by sample."""
    return product(x[0], y[0].T).unsqueeze(0) if len(x) == 1 else x @ y
