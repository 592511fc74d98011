"""Clips of unlabelled speech."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.errors import InputError
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.config import DistillConfig
from mtqscore.training.distillation.unlabelled import (
    FULL_SCALE,
    ClipDraft,
    SpeechFile,
    StretchSampler,
    divide,
    list_speech,
    make_clip,
    read_stretch,
)
from tests.training_kit import paused_tone

SHORT = DistillConfig(min_s=0.6, max_s=1.0)


def test_recordings_that_cannot_be_used_are_named_and_those_of_runs_are_no_speech(folder):
    made = folder / "speech" / "run" / "validation"
    made.mkdir(parents=True)
    soundfile.write(made / "0.wav", paused_tone(20_000, 0, 0), 16_000)
    seen: list[tuple[int, int]] = []
    found, left_out = list_speech(folder / "speech", [folder / "speech" / "run"], lambda *done: seen.append(done))
    assert (len(found), seen[-1]) == (5, (7, 7))
    assert {one.samples for one in found} == {48_000}
    assert sorted(text.rpartition("speech/")[2] for text in left_out) == [
        "no audio.wav: cannot be decoded: Format not recognised.",
        "short.wav: is shorter than 0.5 s",
    ]
    (made / "clips.sha256").touch()
    assert len(list_speech(folder / "speech", [], lambda *_: None)[0]) == 5


def test_talkers_are_held_out_whole_or_else_recordings_or_the_split_of_a_table():
    many = [
        SpeechFile(Path(f"{talker}/{talker}-{index}.wav"), 1, str(talker)) for talker in range(10) for index in range(3)
    ]
    learned, held = divide(many, 0.2, 1)
    assert (len(learned), len(held)) == (24, 6)
    assert {one.group for one in learned}.isdisjoint({one.group for one in held})
    assert divide(many, 0.2, 2)[1] != held
    few = [dataclasses.replace(one, group="one") for one in many]
    assert [len(part) for part in divide(few, 0.1, 1)] == [27, 3]
    told = [dataclasses.replace(one, split="val" if one.group == "3" else "train") for one in many]
    assert divide(told, 0.5, 1)[1] == told[9:12]
    with pytest.raises(InputError, match="one recording is too few"):
        divide(many[:1], 0.5, 1)


def test_clip_is_as_long_as_its_draft_and_depends_on_its_numbers_alone(folder):
    sources, _ = list_speech(folder / "speech", [], lambda *_: None)
    sampler = StretchSampler(sources)
    config = dataclasses.replace(SHORT, plain_share=0.3)
    drafts = [sampler.draft((5, 0, 0, index), config) for index in range(12)]
    assert {draft.plain for draft in drafts} == {True, False}
    assert {draft.rate_hz for draft in drafts} == {8_000, 16_000}
    assert any(sum(draft.pauses) for draft in drafts)
    for draft in drafts:
        clip = make_clip(draft, sampler, config)
        assert (clip.dtype, len(clip), np.abs(clip.astype(int)).max()) == (np.int16, draft.length, FULL_SCALE)
        np.testing.assert_array_equal(clip, make_clip(draft, StretchSampler(sources), config))
        if draft.plain:
            stretch = read_stretch(sources[draft.file], draft.start, draft.samples)
            assert np.corrcoef(stretch, clip)[0, 1] > 0.9999
    other = sampler.draft((5, 0, 1, 0), config)
    assert other != drafts[0]


@pytest.mark.usefixtures("folder")
def test_stretch_without_sound_is_replaced_and_silence_alone_is_refused():
    soundfile.write("silent.wav", np.zeros(48_000), SAMPLE_RATE_HZ)
    soundfile.write("broken.wav", np.full(48_000, np.nan, dtype=np.float32), SAMPLE_RATE_HZ, subtype="FLOAT")
    silent, broken = (SpeechFile(Path(f"{name}.wav"), 48_000, name) for name in ("silent", "broken"))
    sound = SpeechFile(Path("speech/a.wav"), 48_000, "a")
    for first in (silent, broken):
        clip = make_clip(ClipDraft((1, 0, 0, 0), 0, 100, 10_000), StretchSampler([first, sound, sound, sound]), SHORT)
        assert len(clip) == 10_000
    with pytest.raises(InputError, match=r"gave no clip; the last: silent.wav: there is no sound from"):
        make_clip(ClipDraft((1, 0, 0, 0), 0, 100, 10_000), StretchSampler([silent]), SHORT)
