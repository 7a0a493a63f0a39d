"""One product of float32 matrices on one core, at the rate of the machine from a few rows on.

PyTorch carries oneDNN's micro-kernel (`at::native::cpublas::brgemm`: C[m, n] (+)= A[m, k] B[k, n], rows beside each other), which it uses within
its own fused operations and has no operator for. It is called here from numba by its symbol, so that a product costs two microseconds where an
operator costs ten, and any layout of the operands is taken: what lies across is turned in strips that fit the first-level cache.
Where the processor has no kernel, PyTorch's function runs its BLAS instead; where PyTorch lacks the symbol, `HAS_KERNEL` is false.

Promises: an element's sum runs in one order, whatever the number of rows. oneDNN compiles a kernel a shape (40 microseconds, 25 kB) and
keeps it, so what varies most (rows, or the terms of a sum over rows) goes in blocks of 64, then of a multiple of 8, then what is left; a caller
whose other sizes vary pads them (loss_contrast.py).
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from rdl_core.kernel_cache import njit

SYMBOL = "_ZN2at6native7cpublas6brgemmEllllllbPKfS3_Pfb"
BLOCK = 64
"""Rows a call: turned, a block of 128 columns fills two thirds of a first-level cache."""


def _load() -> bool:
    """Makes the symbol known to the compiler; whether it is there."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        address = ctypes.cast(getattr(library, SYMBOL), ctypes.c_void_p).value
    except (OSError, AttributeError):  # another system, another PyTorch
        return False
    llvmlite.binding.add_symbol(SYMBOL, address)
    return True


HAS_KERNEL = _load()
_ADDRESS, _FLAG = types.int64, types.int32
_SIGNATURE = types.void(*[types.int64] * 6, _FLAG, _ADDRESS, _ADDRESS, _ADDRESS, _FLAG)
brgemm: Any = types.ExternalFunction(SYMBOL, _SIGNATURE)


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    """Of an address, to float32."""

    def code(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(address), code


_float32_at: Any = _pointer


@njit(cache=True, nogil=True)
def _turn(source, stride, rows, columns, out, out_stride):  # type: ignore[no-untyped-def]
    """out[j, i] = source[i, j], both addresses, in strips of BLOCK source rows."""
    for first in range(0, rows, BLOCK):
        many = min(BLOCK, rows - first)
        above = carray(_float32_at(source + 4 * first * stride), (many, stride))
        below = carray(_float32_at(out + 4 * first), (columns, out_stride))
        for j in range(columns):
            for i in range(many):
                below[j, i] = above[i, j]


@njit(cache=True, nogil=True)
def _block(left):  # type: ignore[no-untyped-def]
    return BLOCK if left >= BLOCK else left // 8 * 8 if left >= 8 else left


@njit(cache=True, nogil=True)
def multiply(  # type: ignore[no-untyped-def]
    rows, columns, inner, a, a_stride, is_a_across, b, b_stride, is_b_across, bias, out, out_stride, is_added
):
    """out[rows, columns] (+)= A[rows, inner] B[inner, columns] (+ bias[columns], unless its address is 0).

    Addresses of float32; strides in cells, from row to row. is_a_across: a is [inner, rows]; is_b_across: b is [columns, inner].
    """
    if bias:
        added, written = carray(_float32_at(bias), (columns,)), carray(_float32_at(out), (rows, out_stride))
        for i in range(rows):
            for j in range(columns):
                written[i, j] = written[i, j] + added[j] if is_added else added[j]
        is_added = True
    turned = np.empty(inner * columns if is_b_across else 0, np.float32)
    strip = np.empty(rows * BLOCK if is_a_across else 0, np.float32)
    if is_b_across:
        _turn(b, b_stride, columns, inner, np.int64(turned.ctypes.data), columns)
        b, b_stride = np.int64(turned.ctypes.data), columns
    if is_a_across:
        across, at = np.int64(strip.ctypes.data), 0
        while at < inner:
            size = _block(inner - at)
            _turn(a + 4 * at * a_stride, a_stride, size, rows, across, BLOCK)
            b_part = b + 4 * at * b_stride
            brgemm(rows, columns, size, BLOCK, b_stride, out_stride, is_added or at > 0, across, b_part, out, 0)
            at += size
    else:
        at = 0
        while at < rows:
            size = _block(rows - at)
            a_part, out_part = a + 4 * at * a_stride, out + 4 * at * out_stride
            brgemm(size, columns, inner, a_stride, b_stride, out_stride, is_added, a_part, b, out_part, 0)
            at += size
    return len(turned) + len(strip)  # they are in use until here: numba does not see it from their addresses
