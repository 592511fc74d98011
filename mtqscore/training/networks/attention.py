"""Self-attention that averages one number a frame, and the gradient of that, without more passes than it needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Attended(NamedTuple):
    """What attention makes of a batch.

    Args:
        values: averaged numbers, float32 (batch, frames); zero beyond an item's end.
        redundancy: ||A A^T - I||_F^2 of an item's attention A, float32 (batch,); zeros unless asked for.
    """

    values: Tensor
    redundancy: Tensor


def attend(query: Tensor, key: Tensor, numbers: Tensor, counts: list[int], *, redundancy: bool) -> Attended:
    """Average numbers with weights A = softmax(query key^T) over the frames of an item.

    Items are taken one by one at their own lengths: no mask, nothing spent on padding, and a matrix of attention stays
    in the processor's cache from one use to the next. Since numbers are averaged and not vectors, the gradient at the
    softmax's input is a_tt' g_t (s_t' - v_t) for numbers s, values v and their gradient g: one pass over the matrix.
    That of the redundancy at A is 4 (A A^T A - A).

    Args:
        query: (batch, frames, units); its kind of number is that of the matrix products.
        key: (batch, frames, units).
        numbers: float32 (batch, frames).
        counts: valid frames an item.
        redundancy: compute it too (arXiv 1703.03130, equation 8); it takes two products of frames^3.
    """
    made: tuple[Tensor, Tensor] = _Attention.apply(query, key.to(query.dtype), numbers, counts, redundancy)  # type: ignore[no-untyped-call]
    return Attended(*made)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, numbers: Tensor, counts: list[int], redundancy: bool
    ) -> tuple[Tensor, Tensor]:
        values, found = torch.zeros_like(numbers), numbers.new_zeros(len(counts))
        saved = []
        with torch.autocast(query.device.type, enabled=False):
            for item, count in enumerate(counts):
                weights = torch.softmax((query[item, :count] @ key[item, :count].t()).float(), dim=1)
                values[item, :count] = torch.mv(weights, numbers[item, :count])
                overlap = weights.new_empty(0)
                if redundancy:
                    rounded = weights.to(query.dtype)
                    overlap = rounded @ rounded.t()
                    found[item] = overlap.float().square().sum() - 2.0 * weights.square().sum() + count
                if any(ctx.needs_input_grad):
                    saved += [weights, overlap]
        ctx.counts, ctx.redundancy = counts, redundancy
        ctx.save_for_backward(query, key, numbers, values, *saved)
        return values, found

    @staticmethod
    def backward(
        ctx: Any, values_gradient: Tensor, redundancy_gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, numbers, values, *saved = ctx.saved_tensors
        for_query, for_key, for_numbers = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(numbers)
        for item, count in enumerate(ctx.counts):
            weights, overlap = saved[2 * item : 2 * item + 2]
            gradient = values_gradient[item, :count]
            at_energy = torch.addr(-(gradient * values[item, :count])[:, None], gradient, numbers[item, :count])
            if ctx.redundancy:
                pull = (overlap @ weights.to(overlap.dtype)).float().sub_(weights).mul_(4.0 * redundancy_gradient[item])
                at_energy += pull
                at_energy -= (pull.mul_(weights)).sum(dim=1, keepdim=True)
            at_energy = at_energy.mul_(weights).to(query.dtype)
            for_numbers[item, :count] = torch.mv(weights.t(), gradient)
            for_query[item, :count] = at_energy @ key[item, :count]
            for_key[item, :count] = at_energy.t() @ query[item, :count]
        return for_query, for_key, for_numbers, None, None
