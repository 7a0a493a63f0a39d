"""The three contrastive levels as sums over inputs, with their gradient computed on the way.

In: rows padded to [num_samples, max_rows, channels] by a `SampleLayout`, their matrices, and which pairs (anchor, candidate) are positive. Out: a
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

from rdl_core.loss_columns import by_columns
from rdl_core.loss_dense import Number, block
from rdl_core.loss_pairs import Pairs
from rdl_core.products import product

LEVELS = ("row", "link", "context")


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
        anchors, candidates: [num_samples, max_rows, channels], float32 or float64.
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
    tensors: dict[int, Tensor] = {}
    for part in parts:
        tensors |= {id(x): x for x in _tensors_of(part) if x is not None}
    totals, counts = _Contrasts.apply(parts, list(tensors), torch.is_grad_enabled(), *tensors.values())
    both = zip(LEVELS, totals.unbind(), counts.unbind(), strict=True)
    return {level: LossSum(total, count) for level, total, count in both}


def _tensors_of(part: Contrast) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    return part.anchors, part.candidates, part.of_anchors, part.of_candidates


class _Contrasts(Function):
    @staticmethod
    def forward(
        ctx: Any, parts: Sequence[Contrast], names: list[int], with_gradient: bool, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """names: the id, in `parts`, of each tensor."""
        totals: list[Number] = [0.0] * len(LEVELS)
        counts: list[Number] = [0] * len(LEVELS)
        named = dict(zip(names, tensors, strict=True))
        grads: dict[str, dict[int, Tensor]] = {level: {} for level in LEVELS}
        for part in parts:
            a, c = id(part.anchors), id(part.candidates)
            of_a, of_c = (None if w is None else id(w) for w in (part.of_anchors, part.of_candidates))
            mapped_a, mapped_c = (_mapped(named[x], None if m is None else named[m]) for x, m in ((a, of_a), (c, of_c)))
            total, count, *both = _one(mapped_a, mapped_c, part.pairs, part.both_ways, with_gradient)
            level = LEVELS.index(part.level)
            totals[level], counts[level] = totals[level] + total, counts[level] + count
            if with_gradient:
                _add_gradients(grads[part.level], named, a, of_a, both[0])
                _add_gradients(grads[part.level], named, c, of_c, both[1])
        ctx.names = names
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
        sums: dict[int, Tensor] = {}
        for level, from_above in zip(LEVELS, grad_totals.unbind(), strict=True):
            for name in ctx.kept[level]:
                scaled = next(saved) * from_above
                sums[name] = sums[name].add_(scaled) if name in sums else scaled
        return None, None, None, *(sums[name] for name in ctx.names)


def _mapped(x: Tensor, matrix: Tensor | None) -> Tensor:
    """x matrix^T."""
    if matrix is None:
        return x
    return product(x.flatten(0, 1), matrix).view(x.shape)


def _add_gradients(
    grads: dict[int, Tensor], named: dict[int, Tensor], x: int, matrix: int | None, grad: Tensor
) -> None:
    """Adds what the gradient of x matrix^T gives for x and the matrix to what is there."""
    if matrix is not None:
        rows, w = grad.flatten(0, 1), named[matrix]
        grads[matrix] = product(rows.T, named[x].flatten(0, 1).T, out=grads.get(matrix), is_added=matrix in grads)
        grad = product(rows, w.T).view(grad.shape)
    grads[x] = grads[x].add_(grad) if x in grads else grad


def _one(a: Tensor, c: Tensor, pairs: Pairs, both_ways: bool, with_gradient: bool) -> tuple[Any, ...]:
    """(total, count, and with_gradient the gradients of a and c) of one part."""
    if pairs.is_small and (not both_ways or pairs.turned().is_small):
        total, count, weights = block(_times(a, c.mT), pairs, both_ways)
        return (total, count, _times(weights, c), _times(weights.mT, a)) if with_gradient else (total, count)
    total, count, *gradients = by_columns(a, c, pairs, with_gradient)
    if both_ways:
        total_2, count_2, *turned = by_columns(c, a, pairs.turned(), with_gradient)
        total, count = total + total_2, count + count_2
        gradients = [x.add_(y) for x, y in zip(gradients, reversed(turned), strict=True)]
    return total, count, *gradients


def _times(x: Tensor, y: Tensor) -> Tensor:
    """x y, sample by sample."""
    return product(x[0], y[0].T).unsqueeze(0) if len(x) == 1 else x @ y
