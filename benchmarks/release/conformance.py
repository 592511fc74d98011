"""Make the known clips, and write the scores of a released model on them.

    python benchmarks/release/conformance.py clips
    python benchmarks/release/conformance.py update mtqnet-s@6 --why 'first release'

``clips`` degrades the clean clips of the package; Debian's flite speaks those that are missing there.
``update`` scores the clips on the CPU, writes scores.json beside them under the next conformance number of the model,
and adds the line that names it to CHANGELOG.md. It does nothing when no score moved.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

import mtqscore
from mtqscore import AssessConfig, Assessor
from mtqscore.diagnostics.conformance.check import deviations, score_clips
from mtqscore.diagnostics.conformance.known import CLIPS_FOLDER, SCORES_FILE, TOLERANCE, KnownModel, read_known
from mtqscore.models import load_model
from mtqscore.scoring.session import Scorer
from mtqscore.targets import SAMPLE_RATE_HZ

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
HEADING = "## Conformance\n\n"
PEAK, PEAK_IN_NOISE = 0.05, 0.0125
"""Low, so that lossless files are small; rounding to 16 bits stays under noise and distortion."""

SPOKEN = {
    "clean-1": ("slt", "The birch canoe slid on the smooth planks."),
    "clean-2": ("rms", "Rice is often served in round bowls."),
    "clean-3": ("awb", "Four hours of steady work faced us."),
}
"""Clip to the voice of flite and what it says: Harvard sentences (IEEE 1969)."""

Signal = NDArray[np.float64]
Clips = dict[str, Signal]


# --- the clips ------------------------------------------------------------------------------------------------


def spoken(voice: str, text: str) -> Signal:
    """Return synthetic speech, shape (samples,) at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(wav)], check=True)
        samples, rate_hz = soundfile.read(wav)
    assert rate_hz == SAMPLE_RATE_HZ, f"{voice} speaks at {rate_hz} Hz"
    return np.asarray(samples, dtype=np.float64)


def pink(count: int, seed: int) -> Signal:
    """Return noise whose power falls by 3 dB an octave, shape (samples,)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 50)), count)


def white(count: int, seed: int) -> Signal:
    """Return white noise, shape (samples,)."""
    return np.random.default_rng(seed).standard_normal(count)


def mixed(speech: Signal, noise: Signal, snr_db: float) -> Signal:
    """Add noise at a ratio of mean powers."""
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10.0 ** (-snr_db / 20.0)
    return speech + gain * noise


def subtracted(noisy: Signal, lead: Signal, floor: float = 0.05, over: float = 2.0) -> Signal:
    """Take the spectrum of the noise away, frame by frame: what is left of it is musical noise."""
    window, hop = np.hanning(513)[:512], 256
    noise_power = np.mean([np.abs(np.fft.rfft(window * lead[at : at + 512])) ** 2 for at in range(0, 8_000, hop)], 0)
    out = np.zeros(len(noisy) + 512)
    for at in range(0, len(noisy) - 512, hop):
        spectrum = np.fft.rfft(window * noisy[at : at + 512])
        kept = np.maximum(1.0 - over * noise_power / np.maximum(np.abs(spectrum) ** 2, 1e-20), floor**2)
        out[at : at + 512] += np.fft.irfft(np.sqrt(kept) * spectrum)
    return out[: len(noisy)]


def telephone(speech: Signal, subtype: str) -> Signal:
    """Send speech at 8 kHz through a codec of WAV files, and bring it back to 16 kHz."""
    stored = io.BytesIO()
    narrow = soxr.resample(speech * (0.3 / np.abs(speech).max()), SAMPLE_RATE_HZ, 8_000)
    soundfile.write(stored, narrow, 8_000, format="WAV", subtype=subtype)
    stored.seek(0)
    return np.asarray(soxr.resample(soundfile.read(stored)[0], 8_000, SAMPLE_RATE_HZ))


def gapped(speech: Signal, share: float, seed: int) -> Signal:
    """Lose packets of 20 ms without concealment."""
    packet = SAMPLE_RATE_HZ // 50
    lost = np.random.default_rng(seed).random(len(speech) // packet + 1) < share
    return np.where(np.repeat(lost, packet)[: len(speech)], 0.0, speech)


def reverberant(speech: Signal, decay_s: float, seed: int) -> Signal:
    """Add a diffuse tail that falls by 60 dB in ``decay_s`` seconds."""
    time_s = np.arange(int(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = 0.1 * white(len(time_s), seed) * 10.0 ** (-3.0 * time_s / decay_s)
    tail[0] = 1.0
    return np.convolve(speech, tail)[: len(speech)]


DEGRADED: dict[str, Callable[[Clips], Signal]] = {
    "noise-pink-15db": lambda clips: mixed(clips["clean-2"], pink(len(clips["clean-2"]), 1), 15.0),
    "noise-white-5db": lambda clips: mixed(clips["clean-1"], white(len(clips["clean-1"]), 2), 5.0),
    "noise-babble-5db": lambda clips: mixed(
        clips["clean-3"],
        np.resize(clips["clean-1"][::-1], len(clips["clean-3"]))
        + np.resize(clips["clean-2"][::-1], len(clips["clean-3"])),
        5.0,
    ),
    "enhanced-musical": lambda clips: subtracted(
        mixed(clips["clean-2"], white(len(clips["clean-2"]), 3), 8.0),
        mixed(clips["clean-2"], white(len(clips["clean-2"]), 3), 8.0) - clips["clean-2"],
    ),
    "coded-gsm": lambda clips: telephone(clips["clean-1"], "GSM610"),
    "telephone-alaw": lambda clips: telephone(clips["clean-3"], "ALAW"),
    "clipped": lambda clips: np.clip(clips["clean-1"], *(np.array([-0.1, 0.1]) * np.abs(clips["clean-1"]).max())),
    "packet-loss": lambda clips: gapped(clips["clean-3"], 0.1, 4),
    "mnru-15db": lambda clips: clips["clean-2"] * (1.0 + 10.0 ** (-15.0 / 20.0) * white(len(clips["clean-2"]), 5)),
    "reverb": lambda clips: reverberant(clips["clean-3"], 0.6, 6),
}
"""Clip to how it is made of the clean ones."""


def degraded(clean: Clips) -> Clips:
    """Make every clip that is not clean, int16 steps of full scale, from the stored clean ones."""
    quiet = ("coded-gsm", "telephone-alaw", "packet-loss")
    return {
        name: _stored_form(make(clean), PEAK if name in quiet else PEAK_IN_NOISE) for name, make in DEGRADED.items()
    }


def _stored_form(samples: Signal, peak: float) -> Signal:
    return np.rint(samples * (peak / np.abs(samples).max()) * 32_768.0) / 32_768.0


def make_clips() -> None:
    """Write all clips."""
    CLIPS_FOLDER.mkdir(exist_ok=True)
    clean: Clips = {}
    for name, (voice, text) in SPOKEN.items():
        path = CLIPS_FOLDER / f"{name}.flac"
        if not path.exists():
            soundfile.write(path, _stored_form(spoken(voice, text), PEAK), SAMPLE_RATE_HZ, compression_level=1.0)
        clean[name] = soundfile.read(path)[0]
    for name, samples in degraded(clean).items():
        soundfile.write(CLIPS_FOLDER / f"{name}.flac", samples, SAMPLE_RATE_HZ, compression_level=1.0)
    print(f"{sum(path.stat().st_size for path in CLIPS_FOLDER.glob('*.flac')):,} bytes in all")


# --- the scores -----------------------------------------------------------------------------------------------


def announcement(model: KnownModel) -> str:
    """Begin the line of the changelog that names a model's number; the digest ties it to the stored scores."""
    digest = hashlib.sha256(msgspec.json.encode(model, order="sorted")).hexdigest()[:12]
    return f"- {model.label} conformance {model.conformance}, scores {digest}, mtqscore {model.release}: "


def next_state(label: str, known: Mapping[str, KnownModel]) -> KnownModel | None:
    """Score the clips with a model and return it with its next number; None when no score moved."""
    assessor = Assessor(AssessConfig(model=label, device="cpu", frames=True))
    found = dict(sorted(score_clips(assessor).items()))
    old = known.get(assessor.model)
    if old is None:
        number = int(Scorer(load_model(label), "cpu").info.conformance)
    elif old.sha256 != assessor.model_sha256:
        raise SystemExit(f"{old.label} is another file than the one that was released; a new file is a new version")
    else:
        moved = max(deviations(found, old.clips).values())
        print(f"{old.label}: largest deviation from conformance {old.conformance}: {moved:.4f}")
        if moved <= TOLERANCE:
            return None
        number = old.conformance + 1
    release = mtqscore.__version__
    return KnownModel(assessor.model, assessor.model_sha256, assessor.targets, number, release, found)


def update(label: str, why: str) -> None:
    """Store the scores of a model under its next number, and name it in the changelog."""
    known = read_known() if SCORES_FILE.exists() else {}
    model = next_state(label, known)
    if model is None:
        print("nothing to store")
        return
    models = sorted({**known, model.label: model}.values(), key=lambda item: item.label)
    text = json.dumps({"models": msgspec.to_builtins(models)}, indent=1)
    lines = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)
    SCORES_FILE.write_text(lines + "\n", encoding="utf-8")
    line = announcement(model) + why + "\n"
    page = CHANGELOG.read_text(encoding="utf-8")
    if HEADING not in page:
        page = f"{page.rstrip()}\n\n{HEADING}"
    CHANGELOG.write_text(page.replace(HEADING, HEADING + line, 1), encoding="utf-8")
    print(line, end="")


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("clips", help="write the known clips")
    scores = commands.add_parser("update", help="store the scores of a released model")
    scores.add_argument("model", metavar="NAME@VERSION")
    scores.add_argument("--why", required=True, help="for the changelog")
    options = parser.parse_args()
    if options.command == "clips":
        make_clips()
    else:
        update(options.model, options.why)


if __name__ == "__main__":
    main()
