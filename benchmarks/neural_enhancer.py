"""Run a published neural enhancer on one WAV file, as a command for ``mtqscore simulate --enhancer``.

    python benchmarks/neural_enhancer.py gtcrn gtcrn_simple.onnx IN.wav OUT.wav
    python benchmarks/neural_enhancer.py dtln dtln_model_1.onnx,dtln_model_2.onnx IN.wav OUT.wav

The weights are the authors' own: GTCRN (github.com/Xiaobin-Rong/gtcrn, MIT) and DTLN (github.com/breizhn/DTLN, MIT),
both streaming models at 16 kHz.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def session(path: str) -> onnxruntime.InferenceSession:
    """Open a model on one thread: many of these run side by side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def gtcrn(noisy: Samples, model: str) -> Samples:
    """Enhance with GTCRN, one short-time frame at a time."""
    net = session(model)
    states = {item.name: np.zeros(item.shape, np.float32) for item in net.get_inputs()[1:]}
    outputs = [item.name for item in net.get_outputs()]
    window = np.sqrt(np.hanning(513)[:512]).astype(np.float32)
    padded = np.pad(noisy, (256, 768))
    out = np.zeros_like(padded)
    for start in range(0, len(padded) - 511, 256):
        spectrum = np.fft.rfft(padded[start : start + 512] * window)
        frame = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32)[None, :, None, :]
        made = dict(zip(outputs, net.run(None, {net.get_inputs()[0].name: frame, **states}), strict=True))
        enhanced = made.pop(outputs[0])[0, :, 0]
        states = dict(zip(states, made.values(), strict=True))
        out[start : start + 512] += np.fft.irfft(enhanced[:, 0] + 1j * enhanced[:, 1], 512) * window
    return out[256 : 256 + len(noisy)]


def dtln(noisy: Samples, models: str) -> Samples:
    """Enhance with DTLN: a mask on the magnitudes, then a correction of the waveform."""
    first, second = (session(path) for path in models.split(","))
    names = [[item.name for item in net.get_inputs()] for net in (first, second)]
    states = [np.zeros(net.get_inputs()[1].shape, np.float32) for net in (first, second)]
    padded = np.pad(noisy, (384, 512))
    out = np.zeros_like(padded)
    for start in range(0, len(padded) - 511, 128):
        spectrum = np.fft.rfft(padded[start : start + 512])
        magnitude = np.abs(spectrum).astype(np.float32).reshape(1, 1, -1)
        mask, states[0] = first.run(None, {names[0][0]: magnitude, names[0][1]: states[0]})
        guess = np.fft.irfft(mask.reshape(-1) * spectrum).astype(np.float32).reshape(1, 1, -1)
        frame, states[1] = second.run(None, {names[1][0]: guess, names[1][1]: states[1]})
        out[start : start + 512] += frame.reshape(-1)
    return out[384 : 384 + len(noisy)]


def main() -> None:
    """Read, enhance, write."""
    kind, models, source, target = sys.argv[1:]
    noisy, rate_hz = soundfile.read(source, dtype="float32")
    if rate_hz != 16_000:
        sys.exit(f"{source}: {rate_hz} Hz, but these models need 16 kHz")
    enhanced = {"gtcrn": gtcrn, "dtln": dtln}[kind](noisy, models)
    soundfile.write(target, enhanced, rate_hz, subtype="FLOAT")


if __name__ == "__main__":
    main()
