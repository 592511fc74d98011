"""Self-supervised front ends: HuBERT, WavLM and wav2vec 2.0 as torchaudio builds them, with masks everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn import functional

from mtqscore.errors import UsageError
from mtqscore.training.network_config import SslConfig
from mtqscore.training.networks.masking import frame_mask
from mtqscore.training.networks.ssl import weights

HOP_SAMPLES = 320
"""Step between frames: 20 ms."""

FIELD_SAMPLES = 400
"""Samples in a frame: 25 ms. Shorter recordings are filled up with zeros to this."""

NORM_EPSILON = 1e-5


def frame_counts(lengths: Tensor) -> Tensor:
    """Count the frames of recordings: floor((L - 400) / 320) + 1, and 1 for those below 400 samples."""
    return (lengths.clamp(min=FIELD_SAMPLES) - FIELD_SAMPLES) // HOP_SAMPLES + 1


class _Apart:
    """Holds a module out of sight of the one that uses it: it is not saved, averaged or copied with that."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __deepcopy__(self, memo: object) -> Self:
        return self


class SslFrontEnd(nn.Module):
    """Waveform in, one embedding every 20 ms out.

    An item's embedding depends neither on the other items of a batch nor on its padding. LayerDrop is never applied:
    a weighted sum needs every hidden state. A frozen model stays in evaluation mode and gets no gradient; when its
    weights came from a file, it is in no state dict, and copies of the network share it.

    The constructor makes random weights; `load_pretrained` puts the pretrained ones in.

    Args:
        config: which model, which of its hidden states, and whether it is tuned.

    Attributes:
        width: size of an embedding.
        trainable: whether the model's own weights are trained, at the rate ``lr``.
        kept: whether they are in the state dict; else `fingerprint` names them.

    Raises:
        UsageError: the model has no such hidden state.
        MissingExtraError: torchaudio is not installed.
    """

    hop_samples = HOP_SAMPLES

    def __init__(self, config: SslConfig) -> None:
        super().__init__()
        self.config = config
        sizes = weights.model_sizes(config)
        self._total = total = sizes["encoder_num_layers"]
        depth = total if config.layers in {"weighted", "last"} else int(config.layers)
        if depth > total:
            raise UsageError(f"ssl layers {config.layers!r}: {config.model} has the hidden states 0 to {total}")
        from_file = config.model != "custom" or config.checkpoint is not None
        self.width: int = sizes["encoder_embed_dim"]
        self.trainable = config.tune
        self.lr = config.lr
        self.kept = config.tune or not from_file
        self._loaded = not from_file
        self._source = config.model
        bundle = weights.bundle_of(config)
        self._normalizes_waveform: bool = bundle._normalize_waveform
        self._relative_positions: bool = bundle._model_type == "WavLM"
        # Models that normalise before each block do so once more after the last one, as fairseq and transformers have
        # it: that is their last hidden state.
        self._final_norm: bool = depth == total and sizes["encoder_layer_norm_first"]
        body = weights.build_model(config, sizes | {"encoder_num_layers": depth})
        body.requires_grad_(self.trainable)
        if sizes["encoder_layer_norm_first"] and not self._final_norm:
            body.encoder.transformer.layer_norm.requires_grad_(False)
        self._apart = None if self.kept else _Apart(body)
        self.body = body if self.kept else None
        self.layer_weights = nn.Parameter(torch.zeros(total + 1)) if config.layers == "weighted" else None
        self.register_load_state_dict_post_hook(_note_loaded)  # type: ignore[no-untyped-call]
        self.train()

    def load_pretrained(self) -> None:
        """Put the pretrained weights in, fetched first if need be; without any, nothing happens.

        Raises:
            InputError: the file is not there, or holds the weights of another model.
            EnvironmentProblemError: the download failed.
        """
        if self.config.model == "custom" and self.config.checkpoint is None:
            return
        path = weights.find_weights(self.config)
        weights.load_weights(self.model, path, self.config.model, self._total)
        self._source = f"{self.config.model} sha256:{weights.file_sha256(path)}"
        self._loaded = True

    def fingerprint(self) -> str:
        """Name the pretrained weights: the model, and the SHA-256 of the file that they came from, if they did."""
        return self._source

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """Give the model's own weights: what learns at ``lr`` or not at all, unlike the weights of the layer sum."""
        parameters: Iterator[nn.Parameter] = self.model.parameters()
        return parameters

    def train(self, mode: bool = True) -> Self:
        """Switch dropout of a tuned model; a frozen one stays in evaluation mode."""
        super().train(mode)
        if not self.trainable:
            self.model.eval()
        return self

    def frame_positions(self, samples: int) -> Tensor:
        """Give the sample at the middle of each frame of a padded batch, int64 (frames,)."""
        return torch.arange(int(frame_counts(torch.tensor(samples)))) * HOP_SAMPLES + FIELD_SAMPLES // 2

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a padded batch.

        Args:
            waveform: float32 (batch, samples) at 16 kHz; what lies beyond a length is ignored.
            lengths: valid samples an item, int64 (batch,).

        Returns:
            Embeddings float32 (batch, frames, width), zero beyond each end, and the valid frames, int64 (batch,).
        """
        if not self._loaded:
            raise RuntimeError("the front end has no pretrained weights yet: call load_pretrained first")
        with torch.set_grad_enabled(self.trainable and torch.is_grad_enabled()):
            counts = frame_counts(lengths)
            states = self._hidden_states(self._prepared(waveform, lengths), lengths, counts)
        if self.layer_weights is None:
            embedding = states[-1].to(waveform.dtype)
        else:
            if self.config.normalize_layers:
                states = [functional.layer_norm(state, (self.width,)) for state in states]
            shares = torch.softmax(self.layer_weights, 0)
            embedding = shares[0] * states[0].to(waveform.dtype)
            for share, state in zip(shares[1:], states[1:], strict=True):
                embedding = embedding + share * state.to(waveform.dtype)
        return embedding * frame_mask(counts, embedding.shape[1])[:, :, None], counts

    def _prepared(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Zero what is beyond the end, and give the rest mean 0 and variance 1 where the model expects that."""
        mask = frame_mask(lengths, waveform.shape[1]).to(waveform.dtype)
        waveform = waveform * mask
        if self._normalizes_waveform:
            count = lengths[:, None]
            centred = (waveform - waveform.sum(1, keepdim=True) / count) * mask
            waveform = centred * (centred.square().sum(1, keepdim=True) / count + NORM_EPSILON).rsqrt()
        return functional.pad(waveform, (0, max(0, FIELD_SAMPLES - waveform.shape[1])))

    def _hidden_states(self, waveform: Tensor, lengths: Tensor, counts: Tensor) -> list[Tensor]:
        """Compute all hidden states, or the last one that is needed, each (batch, frames, width)."""
        encoder = self.model.encoder
        transformer = encoder.transformer
        x = encoder.feature_projection(self._convolved(waveform, lengths.clamp(min=FIELD_SAMPLES)))
        mask = frame_mask(counts, x.shape[1])
        padded = is_exporting() or bool((counts < x.shape[1]).any())
        # The convolution of positions looks 64 frames ahead: there it must find zeros, as beyond any end.
        x = x.masked_fill(~mask[:, :, None], 0.0)
        x = x + transformer.pos_conv_embed(x)
        # torchaudio's name for: before the first block, rather than after the last.
        if transformer.layer_norm_first:
            x = transformer.layer_norm(x)
        x = transformer.dropout(x)
        attend: dict[str, Tensor] = {}
        if padded and self._relative_positions:
            attend = {"key_padding_mask": torch.zeros_like(mask, dtype=waveform.dtype).masked_fill(~mask, -torch.inf)}
        elif padded:
            attend = {"attention_mask": mask[:, None, None, :].expand(-1, 1, x.shape[1], -1)}
        states, bias = [x], None
        for block in transformer.layers:
            x, bias = block(x, position_bias=bias, **attend)
            states = [*states, x] if self.layer_weights is not None else [x]
        if self._final_norm:
            states[-1] = transformer.layer_norm(x)
        return states

    def _convolved(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Run the feature extractor: (batch, samples) to (batch, frames, channels)."""
        x = waveform[:, None]
        for layer in self.model.feature_extractor.conv_layers:
            x = layer.conv(x)
            lengths = (lengths - layer.kernel_size) // layer.stride + 1
            if isinstance(layer.layer_norm, nn.GroupNorm):
                x = _norm_over_time(layer.layer_norm, x, lengths)
            elif layer.layer_norm is not None:
                x = layer.layer_norm(x)
            x = functional.gelu(x)
        return x.transpose(1, 2)

    @property
    def model(self) -> Any:
        """The model of torchaudio, a submodule of this one or kept apart."""
        return self.body if self._apart is None else self._apart.module

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # Devices and types follow the network although the model is kept apart from it.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._apart is not None:
            self._apart.module._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _norm_over_time(norm: nn.GroupNorm, x: Tensor, counts: Tensor) -> Tensor:
    """Normalise each channel over an item's own frames: (batch, channels, frames), zero beyond each end.

    Item by item, so that one gives the same in a batch as alone: torch's own norm takes the padding in.
    """
    if is_exporting():
        return _norm_of_masked(norm, x, counts)
    padding = [x.shape[2] - count for count in counts.tolist()]
    if not any(padding):
        return norm(x)  # type: ignore[no-any-return]
    items = [norm(item[None, :, : x.shape[2] - spare]) for item, spare in zip(x, padding, strict=True)]
    return torch.cat([functional.pad(item, (0, spare)) for item, spare in zip(items, padding, strict=True)])


def _norm_of_masked(norm: nn.GroupNorm, x: Tensor, counts: Tensor) -> Tensor:
    """Normalise as `_norm_over_time`, in the form that a graph can be traced of."""
    mask = frame_mask(counts, x.shape[2])[:, None, :].to(x.dtype)
    # Twice: the sum of many like numbers is rounded, and a small variance makes that large.
    for _ in range(2):
        x = (x - (x * mask).sum(2, keepdim=True) / counts[:, None, None]) * mask
    x = x * (x.square().sum(2, keepdim=True) / counts[:, None, None] + norm.eps).rsqrt()
    return (x * norm.weight[:, None] + norm.bias[:, None]) * mask


def _note_loaded(front_end: SslFrontEnd, _: Any) -> None:
    """After a state dict was loaded that holds the model's own weights, there is nothing to fetch."""
    front_end._loaded = front_end._loaded or front_end.kept
