"""Make the bundled recordings: synthetic speech (flite, a free synthesiser), degraded by mtqscore's own simulation.

Run in the repository with the [train] extra and Debian's package flite: python examples/make_examples.py
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from mtqscore.audio.levels import Signal
from mtqscore.labels.mapping import label_parts
from mtqscore.simulation.degradations.codecs import Codec
from mtqscore.simulation.degradations.dynamics import Clip
from mtqscore.simulation.degradations.mnru import Mnru
from mtqscore.simulation.degradations.noises import AddNoise
from mtqscore.simulation.degradations.packets import PacketLoss
from mtqscore.simulation.degradations.suppression import Suppress
from mtqscore.simulation.scene import Degradation, start_scene

FOLDER = Path(__file__).parent
RATE_HZ = 16_000
SENTENCES = {
    "slt": "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.",
    "rms": "Rice is often served in round bowls. The juice of lemons makes fine punch.",
    "awb": "Four hours of steady work faced us. A large size in stockings is hard to sell.",
}
"""Voice of flite to what it says: Harvard sentences (IEEE 1969)."""


def spoken(voice: str) -> Signal:
    """Return synthetic speech at 16 kHz, shape (samples,)."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", SENTENCES[voice], "-o", str(wav)], check=True)
        speech, rate_hz = soundfile.read(wav)
    assert rate_hz == RATE_HZ, f"{voice} speaks at {rate_hz} Hz"
    return np.asarray(speech, dtype=np.float64)


class Voices:
    """Babble from the synthetic voices; there is no recorded noise in the examples."""

    def noise(self, rng: np.random.Generator, samples: int, rate_hz: int, speed: float) -> tuple[Signal, str]:
        """Not used by the examples."""
        raise NotImplementedError("the examples use made noise only")

    def babble(self, rng: np.random.Generator, samples: int, rate_hz: int, talkers: int) -> Signal:
        """Overlay shifted copies of all voices, shape (samples,)."""
        del rate_hz
        voices = [np.resize(spoken(voice), samples) for voice in SENTENCES]
        return np.asarray(sum(np.roll(voices[i % len(voices)], int(rng.integers(samples))) for i in range(talkers)))


@dataclass(frozen=True)
class Example:
    """One bundled recording: who speaks, what happens to it, how it is stored."""

    name: str
    voice: str
    steps: Sequence[Degradation] = ()
    rate_hz: int = RATE_HZ
    subtype: str | None = None


WIENER = Suppress("wiener", lag_s=0.5, bias_db=2.0, floor_db=-18.0, smoothing=0.96, over=1.0, window_s=0.032)
SUBTRACTION = Suppress(
    "spectral_subtraction", lag_s=1.0, bias_db=3.0, floor_db=-30.0, smoothing=0.0, over=3.0, window_s=0.032
)
EXAMPLES = (
    Example("clean.flac", "awb"),
    Example("clean-telephone.wav", "awb", (), 8_000, "ALAW"),
    Example("noisy-15db.flac", "rms", (AddNoise("coloured", 15.0, sampler=Voices()),)),
    Example("babble-0db.flac", "slt", (AddNoise("babble", 0.0, sampler=Voices()),)),
    Example("enhanced-wiener.flac", "rms", (AddNoise("coloured", 8.0, sampler=Voices()), WIENER)),
    Example("enhanced-musical.flac", "awb", (AddNoise("white", 5.0, sampler=Voices()), SUBTRACTION)),
    Example("coded-gsm.wav", "slt", (Codec("gsm", 0.0, 1, -26.0),), 8_000, "GSM610"),
    Example("distorted-mnru.flac", "rms", (Mnru(q_db=20.0, rate_hz=16_000),)),
    Example("packet-loss.ogg", "slt", (PacketLoss(0.06, 1.5, 0.02, "none"),), RATE_HZ, "VORBIS"),
    Example("clipped.mp3", "awb", (Clip(0.02, soft=False),)),
)


def main() -> None:
    """Write every example and print what its references say of it."""
    for number, example in enumerate(EXAMPLES):
        rng = np.random.default_rng(number)
        scene = start_scene(spoken(example.voice), RATE_HZ).at_rate(example.rate_hz)
        # A last pass through the codec is what storing the file does, so the scene stops before it.
        steps = [step for step in example.steps if not (isinstance(step, Codec) and example.subtype == "GSM610")]
        for step in steps:
            scene = step.apply(scene, rng)
        peak = float(np.max(np.abs(scene.mix)))
        soundfile.write(FOLDER / example.name, scene.mix * (0.5 / peak), example.rate_hz, subtype=example.subtype)
        for step in example.steps[len(steps) :]:
            scene = step.apply(scene, rng)
        labels = label_parts(scene.clean, scene.speech, scene.noise, scene.rate_hz, raw_noise=scene.raw_noise)
        assert labels is not None
        print(f"{example.name:24s} S {labels.s_mos:.2f}  N {labels.n_mos:.2f}  G {labels.g_mos:.2f}")


if __name__ == "__main__":
    main()
