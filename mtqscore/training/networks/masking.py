"""ReLU that keeps frames beyond an item's end at zero, so that convolutions see zeros there as they do alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def masked_relu(x: Tensor, counts: list[int]) -> Tensor:
    """Apply ReLU in place and zero the frames beyond each item's end.

    Args:
        x: (batch, channels, frames, bins); it is overwritten.
        counts: valid frames an item.

    Returns:
        The same memory.
    """
    out: Tensor = _MaskedRelu.apply(x, counts)  # type: ignore[no-untyped-call]
    return out


class _MaskedRelu(torch.autograd.Function):
    """ReLU in place that also zeroes frames beyond the end: only these are touched, unlike by a product with a mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        out = torch.relu_(x)
        for item, count in zip(out, counts, strict=True):
            if count < item.shape[1]:
                item[:, count:] = 0
        ctx.mark_dirty(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        # Where the output is zero nothing flows back: what the ReLU cut off, and what lies beyond the end.
        return torch.ops.aten.threshold_backward(gradient, out, 0), None
