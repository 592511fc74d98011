"""Heads of one task: self-attention that averages one number a frame, in no more passes than it needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtqscore.targets import STOI, Target
from mtqscore.training.networks.masking import ValidFrames, frame_mask

MASKED_SCORE = -1e9
"""Score of attention for frames beyond the end; the softmax makes an exact zero of it."""


class TaskHead(nn.Module):
    """Multiplicative self-attention without a value projection, then one number a frame, as in MOSA-Net.

    The attention of frame t gives v_t = sum_t' a_tt' x_t' with a = softmax(x_t^T W x_t' / sqrt(d)); the frame score
    is a sigmoid of w^T v_t + b, scaled to the target's limits. Since w^T v_t = sum_t' a_tt' w^T x_t', each frame is
    first reduced to one number, and the attention averages numbers instead of vectors.

    Args:
        target: the quantity and its limits.
        inputs: size of a frame.
    """

    def __init__(self, target: Target, inputs: int) -> None:
        super().__init__()
        self.low = target.low
        self.span = target.high - target.low
        self.attention = nn.Linear(inputs, inputs, bias=False)
        self.score = nn.Linear(inputs, 1)
        self.scale = inputs**-0.5
        nn.init.xavier_normal_(self.attention.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (batch, frames, inputs) and bool (batch, frames) to frame scores (batch, frames)."""
        query = self.attention(x) * self.scale
        absent = torch.where(mask, 0.0, MASKED_SCORE)[:, None].to(query.dtype)
        energy = torch.baddbmm(absent, query, x.transpose(1, 2).to(query.dtype))
        weights = torch.softmax(energy.float(), dim=2)
        value = (weights @ (x @ self.score.weight.t()).float()).squeeze(2) + self.score.bias.float()
        return self.low + self.span * torch.sigmoid(value)


class Attended(NamedTuple):
    """Results of attention over a batch."""

    values: Tensor
    redundancy: Tensor


class SelfAttentionHead(nn.Module):
    """The head of MOSA-Net and MTQ-Net as published: multiplicative self-attention, then one number a frame.

    The attention of frame t gives v_t = sum_t' a_tt' x_t' with a = softmax(x_t^T W x_t' + b), neither scaled nor
    projected; the frame score is w^T v_t + c, through a sigmoid where the target asks for one. As in `TaskHead`,
    each frame is first reduced to one number, which changes no result. Nor does the scalar b: the softmax does not
    notice it. It stays a parameter, since checkpoints have it and it is regularised, but nothing adds it. Scores start
    from the middle of their scale, not from 0.

    Args:
        target: the quantity and its limits.
        inputs: size of a frame.
        bounded: put every score through a sigmoid onto its scale, instead of STOI alone.
    """

    def __init__(self, target: Target, inputs: int, bounded: bool) -> None:
        super().__init__()
        self.target = target
        self.squashed = bounded or target.name == STOI.name
        self.attention = nn.Linear(inputs, inputs, bias=False)
        self.attention_bias = nn.Parameter(torch.zeros(()))
        self.score = nn.Linear(inputs, 1)
        nn.init.xavier_normal_(self.attention.weight)
        nn.init.xavier_uniform_(self.score.weight)
        nn.init.constant_(self.score.bias, 0.0 if self.squashed else (target.low + target.high) / 2)

    def forward(self, x: Tensor, counts: ValidFrames, *, redundancy: bool) -> Attended:
        """Map (batch, frames, inputs), of which counts are valid, to frame scores.

        Args:
            x: frames, float32 or bfloat16.
            counts: valid frames an item.
            redundancy: measure that of the attention too.
        """
        numbers = (x * self.score.weight).sum(dim=2) + self.score.bias
        values, found = attend(self.attention(x), x, numbers, counts, redundancy=redundancy)
        if self.squashed:
            values = self.target.low + (self.target.high - self.target.low) * torch.sigmoid(values)
        return Attended(values, found)


def attend(query: Tensor, key: Tensor, numbers: Tensor, counts: ValidFrames, *, redundancy: bool) -> Attended:
    """Average numbers with weights A = softmax(query key^T) over the frames of an item.

    Items are taken one by one at their own lengths: no mask, nothing spent on padding, and a matrix of attention stays
    in the processor's cache from one use to the next. Since numbers are averaged and not vectors, the gradient at the
    softmax's input is a_tt' g_t (s_t' - v_t) for numbers s, values v and their gradient g: one pass over the matrix.
    That of the redundancy at A is 4 (A A^T A - A).

    Args:
        query: (batch, frames, units); its type is that of the matrix products.
        key: (batch, frames, units).
        numbers: float32 (batch, frames).
        counts: valid frames an item.
        redundancy: compute it too (arXiv 1703.03130, equation 8); it takes two products of frames^3.
    """
    if isinstance(counts, Tensor):
        absent = torch.where(frame_mask(counts, query.shape[1]), 0.0, MASKED_SCORE)[:, None]
        weights = torch.softmax(query @ key.transpose(1, 2) + absent, dim=2)
        return Attended((weights @ numbers[:, :, None]).squeeze(2), numbers.new_zeros(counts.shape))
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
