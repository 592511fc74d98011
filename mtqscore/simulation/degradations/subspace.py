"""Signal-subspace enhancement (KLT) after Hu and Loizou (2003): a linear filter a block, exact to split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mtqscore.audio.levels import Signal
from mtqscore.simulation.scene import Scene


def _covariances(blocks: Signal, order: int) -> Signal:
    """Toeplitz covariance of each block, shape (blocks, order, order)."""
    size = blocks.shape[1]
    spectra = np.abs(np.fft.rfft(blocks, 2 * size, axis=1)) ** 2
    lags = np.fft.irfft(spectra, axis=1)[:, :order] / size
    return np.asarray(lags[:, np.abs(np.subtract.outer(np.arange(order), np.arange(order)))])


@dataclass(frozen=True)
class Subspace:
    """KLT enhancer with noise whitening.

    Args:
        order: length of the vectors.
        trade: Lagrange factor: the larger, the less noise and the more distortion.
        bias_db: error of the noise estimate.
    """

    name: ClassVar[str] = "klt"
    order: int
    trade: float
    bias_db: float

    @classmethod
    def draw(cls, rng: np.random.Generator, rate_hz: int) -> Subspace:
        """Draw the balance between noise and distortion."""
        return cls(32 if rate_hz <= 8000 else 48, float(rng.uniform(0.5, 8)), float(rng.normal(0, 3)))

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Filter overlapping vectors with the matrix of their block."""
        order, hop, block = self.order, self.order // 2, int(0.032 * scene.rate_hz)
        size = len(scene.speech)
        padded = -(-(size + block) // block) * block
        mix = np.pad(scene.mix, (0, padded - size)).reshape(-1, block)
        noise = np.pad(scene.noise, (0, padded - size))
        noise_cov = _covariances(noise.reshape(-1, block), order).mean(axis=0)
        noise_cov = noise_cov * 10 ** (self.bias_db / 10) + np.eye(order) * (1e-4 * noise_cov[0, 0] + 1e-12)
        root = np.linalg.cholesky(noise_cov)
        whiten = np.linalg.inv(root)
        values, vectors = np.linalg.eigh(whiten @ _covariances(mix, order) @ whiten.T)
        gains = np.maximum(values - 1, 0)
        gains = gains / (gains + self.trade + 1e-9)
        filters = root @ (vectors * gains[:, None, :]) @ np.swapaxes(vectors, 1, 2) @ whiten
        window = np.hanning(order + 1)[:order]

        def filtered(part: Signal) -> Signal:
            whole = np.pad(part, (order, padded - size + order))
            frames = np.lib.stride_tricks.sliding_window_view(whole, order)[::hop]
            which = np.minimum(np.arange(len(frames)) * hop // block, len(filters) - 1)
            out = np.zeros(len(whole) + order)
            made = np.einsum("fij,fj->fi", filters[which], frames) * window
            for phase in (0, 1):
                chunk = made[phase::2].reshape(-1)
                out[phase * hop : phase * hop + len(chunk)] += chunk
            return np.asarray(out[order : order + size])

        return scene.through(filtered)
