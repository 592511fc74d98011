"""Masks of valid frames, and layers through which padding never passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting

ValidFrames = list[int] | Tensor
"""Valid frames an item: numbers to loop over, or int64 (batch,) while a graph is traced."""

ONNX_GATES = [0, 3, 1, 2]
"""Gates of torch (input, forget, cell, output) in the order of ONNX (input, output, forget, cell)."""


def frame_mask(counts: Tensor, frames: int) -> Tensor:
    """Mark the frames that belong to each item: bool (batch, frames), True where valid.

    Args:
        counts: valid frames an item, int64 (batch,).
        frames: frames in the padded batch.
    """
    return torch.arange(frames, device=counts.device)[None, :] < counts[:, None]


def valid_frames(counts: Tensor) -> ValidFrames:
    """Give valid frames, int64 (batch,), as `masked_relu` and `attend` take them."""
    return counts if is_exporting() else counts.tolist()


def masked_relu(x: Tensor, counts: ValidFrames) -> Tensor:
    """Apply ReLU in place and zero the frames beyond each item's end, as convolutions find there for one item alone.

    Args:
        x: (batch, channels, frames, bins); it is overwritten.
        counts: valid frames an item.

    Returns:
        The same memory.
    """
    if isinstance(counts, Tensor):
        return torch.relu(x) * frame_mask(counts, x.shape[2])[:, None, :, None].to(x.dtype)
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


class MaskedBlstm(nn.Module):
    """Two LSTMs, one of which runs over each item from its own last valid frame backwards.

    Args:
        inputs: size of a frame.
        hidden: units a direction.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(inputs, hidden, batch_first=True)
        self.backwards = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Map (batch, frames, inputs) with valid frames int64 (batch,) to (batch, frames, 2 * hidden)."""
        if is_exporting():
            return self._as_operator(x, counts)
        index = torch.arange(x.shape[1], device=x.device)[None, :]
        mirror = torch.where(index < counts[:, None], counts[:, None] - 1 - index, index)[:, :, None]
        ahead = self.forwards(x)[0]
        behind = self.backwards(x.gather(1, mirror.expand(-1, -1, x.shape[2])))[0]
        behind = behind.gather(1, mirror.expand(-1, -1, behind.shape[2]))
        return torch.cat((ahead, behind), dim=2)

    def onnx_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give the weights of ONNX's LSTM: (2, 4 * hidden, inputs), (2, 4 * hidden, hidden), (2, 8 * hidden)."""

        def both(name: str) -> Tensor:
            parts = [getattr(lstm, f"{name}_l0").unflatten(0, (4, -1)) for lstm in (self.forwards, self.backwards)]
            return torch.stack([part[ONNX_GATES].flatten(0, 1) for part in parts])

        return both("weight_ih"), both("weight_hh"), torch.cat((both("bias_ih"), both("bias_hh")), dim=1)

    def _as_operator(self, x: Tensor, counts: Tensor) -> Tensor:
        """Trace both directions as ONNX's operator: torch's own LSTM is traced for one number of frames only."""
        hidden = self.forwards.hidden_size
        (states,) = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (x.transpose(0, 1), *self.onnx_weights(), counts.to(torch.int32)),
            attrs={"direction": "bidirectional", "hidden_size": hidden},
            dtypes=(torch.float32,),
            shapes=((x.shape[1], 2, x.shape[0], hidden),),
        )
        return states.permute(2, 0, 1, 3).flatten(2)
