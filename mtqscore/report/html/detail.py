"""One recording made heard and seen: its sound read again, its spectrogram drawn, its curves beside them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtqscore.report.html.curves import WORST_S, hear_seconds
from mtqscore.report.html.rows import safe_json
from mtqscore.report.html.sound import as_flac, read_sound
from mtqscore.report.html.spectrogram import spectrogram_png, top_hz
from mtqscore.scores import UnscorableError

if TYPE_CHECKING:
    from mtqscore.report.html.choice import Chosen
    from mtqscore.report.html.curves import Excerpt
    from mtqscore.scoring.session import Scorer

CURVES = ("s_mos", "n_mos", "g_mos")
"""What is drawn along time, where the model gives it."""


@dataclass(frozen=True, eq=False)
class Detail:
    """A recording that is heard and seen.

    Args:
        chosen: the recording, and why it is here.
        excerpt: the stretch that is shown, with the curves that are drawn.
        content: sound, picture and curves as JSON, safe inside a script element.
        note: what the reader should know of the sound, in words; empty when nothing.
    """

    chosen: Chosen
    excerpt: Excerpt
    content: str
    note: str

    @property
    def element(self) -> str:
        """Id of its element on the page."""
        return f"listen-{self.chosen.candidate.index + 1}"


def make_detail(chosen: Chosen, scorer: Scorer | None = None) -> Detail:
    """Read the sound of a recording again and draw it; what cannot be read any more is left out and said.

    Args:
        chosen: the recording.
        scorer: the model, to hear every second alone; None draws the frame scores.

    Returns:
        What the page needs to show it.
    """
    excerpt = chosen.candidate.excerpt
    try:
        sound = read_sound(chosen.candidate)
    except UnscorableError as error:
        note = f"Sound and spectrogram are missing: {error.reason}."
        return Detail(chosen, excerpt, safe_json(_curves(excerpt)), note)
    if scorer is not None:
        excerpt = hear_seconds(excerpt, sound.samples, sound.sample_rate_hz, scorer)
    content = {
        **_curves(excerpt),
        "audio": base64.b64encode(as_flac(sound)).decode(),
        "rate": sound.sample_rate_hz,
        "image": base64.b64encode(spectrogram_png(sound.samples, sound.sample_rate_hz)).decode(),
        "top": top_hz(sound.sample_rate_hz),
    }
    note = f"{sound.note[0].upper()}{sound.note[1:]}." if sound.note else ""
    return Detail(chosen, excerpt, safe_json(content), note)


def _curves(excerpt: Excerpt) -> dict[str, object]:
    worst_s = excerpt.worst_s
    return {
        "start": round(excerpt.start_s, 4),
        "length": round(excerpt.length_s, 4),
        "worst": None if worst_s is None else [round(worst_s, 4), round(worst_s + WORST_S, 4)],
        "first": round(excerpt.first_s, 4),
        "hop": excerpt.hop_s,
        "curves": {target: _hundredths(excerpt, target) for target in CURVES if target in excerpt.targets},
    }


def _hundredths(excerpt: Excerpt, target: str) -> list[int | None]:
    values = excerpt.values[:, excerpt.targets.index(target)].astype(np.float64)
    return [round(value * 100) if np.isfinite(value) else None for value in values.tolist()]
