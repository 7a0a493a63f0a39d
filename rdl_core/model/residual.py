"""The tabular ResNet after its first linear map (Gorishniy et al. 2021; PyTorch Frame's ResNet), with its gradient written out.

    x = shortcut + drop(relu(norm(W drop(relu(norm(z))) + b)))     first block: z and the shortcut come from the cells
    x = x + drop(relu(norm(W_2 drop(relu(norm(W_1 x + b_1))) + b_2)))     each further block
    out = W relu(norm(x)) + b

Why by hand: nothing is recorded per operation, and masks are not kept: after ReLU and dropout a cell is positive exactly where its gradient passes,
times 1 / (1 - p).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch_frame.nn import ResNet

from rdl_core.kernels.linear import product, product_dtype
from rdl_core.kernels.norm_relu import norm_relu, norm_relu_gradients


def residual_blocks(model: ResNet, both: Tensor, masks: Tensor | None, probability: float) -> Tensor:
    """Row vectors.

    Args:
        model: Holds the parameters.
        both: [rows, 2 * channels], the first block's lin1 and its shortcut of the cells, side by side.
        masks: [2 * blocks, rows, channels] of 0 and 1 / (1 - probability), or None: no dropout.
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
    def forward(ctx: Any, both: Tensor, masks: Tensor | None, factor: float, *parameters: Tensor) -> Tensor:
        saved: list[Tensor] = []
        dtype = product_dtype(both)
        z, x = both.chunk(2, dim=1)
        at, num_blocks = 0, (len(parameters) - 2) // 8
        z = z.contiguous()

        def normed(x: Tensor, at: int, mask: Tensor | None) -> Tensor:
            y, moments = norm_relu(x, parameters[at], parameters[at + 1], mask)
            saved.extend((x, moments, y))
            return y

        for block in range(num_blocks):
            if block:
                z = product(x, parameters[at], parameters[at + 1], dtype=dtype)
                saved.append(x)
                at += 2
            y = normed(z, at, None if masks is None else masks[2 * block])
            z = product(y, parameters[at + 2], parameters[at + 3], dtype=dtype)
            x = normed(z, at + 4, None if masks is None else masks[2 * block + 1]) + x
            at += 6
        y = normed(x, at, None)
        ctx.factor, ctx.num_saved, ctx.dtype = factor, len(saved), dtype
        ctx.save_for_backward(*saved, *parameters)
        return product(y, parameters[at + 2], parameters[at + 3], dtype=dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved, parameters = list(ctx.saved_tensors[: ctx.num_saved]), ctx.saved_tensors[ctx.num_saved :]
        grads: list[Tensor] = []  # last parameter first

        def linear(grad: Tensor, of_bias: Tensor, x: Tensor) -> Tensor:
            weight = parameters[len(parameters) - len(grads) - 2]
            grads.extend((of_bias, product(grad.T, x.T, dtype=ctx.dtype)))
            return product(grad, weight.T, dtype=ctx.dtype)

        def norm(grad: Tensor, factor: float) -> tuple[Tensor, Tensor]:
            y, moments, x = (saved.pop() for _ in range(3))
            scale = parameters[len(parameters) - len(grads) - 2]
            grad, sums = norm_relu_gradients(grad, x, y, moments, scale, factor)
            of_scale, of_shift, of_bias = sums.unbind()
            grads.extend((of_shift, of_scale))
            return grad, of_bias

        grad = grad.contiguous()
        grad_x, _ = norm(linear(grad, grad.sum(0), saved[-1]), 1.0)
        while len(grads) < len(parameters):
            inner, of_bias = norm(grad_x, ctx.factor)
            inner, of_bias = norm(linear(inner, of_bias, saved[-1]), ctx.factor)
            if len(grads) < len(parameters):
                grad_x = linear(inner, of_bias, saved.pop()).add_(grad_x)
        return torch.cat([inner, grad_x], dim=1), None, None, *reversed(grads)
