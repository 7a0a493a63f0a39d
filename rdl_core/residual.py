"""The tabular ResNet after its first linear map (Gorishniy et al. 2021; PyTorch Frame's ResNet), with its gradient written out.

    x = shortcut + drop(relu(norm(W drop(relu(norm(z))) + b)))     first block: z and the shortcut come from the cells
    x = x + drop(relu(norm(W_2 drop(relu(norm(W_1 x + b_1))) + b_2)))     each further block
    out = W relu(norm(x)) + b

Why by hand: nothing is recorded per operation, and masks are not kept: after ReLU and dropout a cell is positive exactly where its gradient passes,
times 1 / (1 - p). Rows are padded to few sizes (products.py); no gradient comes from the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch_frame.nn import ResNet

from rdl_core.products import pad_rows, product, product_dtype

EPSILON = 1e-5


def residual_blocks(model: ResNet, both: Tensor, masks: Tensor | None, probability: float) -> Tensor:
    """Row vectors.

    Args:
        model: Holds the parameters.
        both: [rows, 2 * channels], the first block's lin1 and its shortcut of the cells, side by side.
        masks: [2 * blocks, padded rows, channels] of 0 and 1 / (1 - probability), or None: no dropout.
    """
    parameters: list[Tensor] = []
    for i, block in enumerate(model.backbone):
        if i:
            parameters += [block.lin1.weight, block.lin1.bias]
        parameters += [block.norm1.weight, block.norm1.bias, block.lin2.weight, block.lin2.bias]
        parameters += [block.norm2.weight, block.norm2.bias]
    norm, _, linear = model.decoder
    parameters += [norm.weight, norm.bias, linear.weight, linear.bias]
    out: Tensor = _Blocks.apply(both, masks, 1.0 / (1.0 - probability) if masks is not None else 1.0, *parameters)
    return out


class _Blocks(Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor, masks: Tensor | None, scale: float, *parameters: Tensor) -> Tensor:
        saved: list[Tensor] = []
        dtype = product_dtype(both)
        z, x = pad_rows(both).chunk(2, dim=1)  # whatever is in rows of padding, no gradient comes from there
        rows, at, num_blocks = len(both), 0, (len(parameters) - 2) // 8
        z = z.contiguous()
        for block in range(num_blocks):
            if block:
                z = product(x, parameters[at], parameters[at + 1], dtype=dtype)
                saved.append(x)
                at += 2
            y = _norm_relu(z, parameters[at : at + 2], None if masks is None else masks[2 * block], saved)
            z = product(y, parameters[at + 2], parameters[at + 3], dtype=dtype)
            y = _norm_relu(z, parameters[at + 4 : at + 6], None if masks is None else masks[2 * block + 1], saved)
            x = y + x
            at += 6
        y = _norm_relu(x, parameters[at : at + 2], None, saved)
        ctx.scale, ctx.num_saved, ctx.dtype = scale, len(saved), dtype
        ctx.save_for_backward(*saved, *parameters)
        return product(y, parameters[at + 2], parameters[at + 3], dtype=dtype)[:rows]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved, parameters = list(ctx.saved_tensors[: ctx.num_saved]), ctx.saved_tensors[ctx.num_saved :]
        grads: list[Tensor] = []  # last parameter first

        def linear(grad: Tensor, x: Tensor) -> Tensor:
            weight = parameters[len(parameters) - len(grads) - 2]
            grads.extend((grad.sum(0), product(grad.T, x.T, dtype=ctx.dtype)))
            return product(grad, weight.T, dtype=ctx.dtype)

        def norm(grad: Tensor, scale: float) -> Tensor:
            y, rstd, mean, x = (saved.pop() for _ in range(4))
            at = len(parameters) - len(grads)
            grad = torch.ops.aten.threshold_backward(grad, y, 0.0)
            if scale != 1.0:
                grad.mul_(scale)
            grad, *both = torch.ops.aten.native_layer_norm_backward(
                grad, x, x.shape[1:], mean, rstd, parameters[at - 2], parameters[at - 1], [True] * 3
            )
            grads.extend(reversed(both))
            return grad

        rows, grad = grad.shape[0], pad_rows(grad.contiguous())
        grad_x = norm(linear(grad, saved[-1]), 1.0)
        while len(grads) < len(parameters):
            inner = norm(grad_x, ctx.scale)
            inner = norm(linear(inner, saved[-1]), ctx.scale)
            if len(grads) < len(parameters):
                grad_x = linear(inner, saved.pop()).add_(grad_x)
        return torch.cat([inner[:rows], grad_x[:rows]], dim=1), None, None, *reversed(grads)


def _norm_relu(x: Tensor, affine: Sequence[Tensor], mask: Tensor | None, saved: list[Tensor]) -> Tensor:
    """relu(norm(x)) times the mask; keeps (x, mean, rstd, y)."""
    y, mean, rstd = torch.native_layer_norm(x, x.shape[1:], affine[0], affine[1], EPSILON)
    y.relu_()
    if mask is not None:
        y.mul_(mask)
    saved += [x, mean, rstd, y]
    return y
