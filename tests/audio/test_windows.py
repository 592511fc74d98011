"""Windows: nothing lost, nothing tiny, nothing held for long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.audio.windows import SoundWindower, Windower, join_frames, level_weights, pool_scores, valid_frames

WINDOW, HOP = 1_600, 100


def cut(samples: np.ndarray, block: int) -> list[np.ndarray]:
    windower = Windower(WINDOW, HOP)
    windows = [window for at in range(0, len(samples), block) for window in windower.push(samples[at : at + block])]
    assert windower.total_samples == len(samples)
    return windows + list(windower.finish())


LENGTHS = st.integers(0, 8_000) | st.sampled_from([1_599, 1_600, 1_601, 3_199, 3_200, 3_201])
few_examples = settings(max_examples=50, derandomize=True, deadline=None)


@few_examples
@given(count=LENGTHS, block=st.integers(20, 9_000))
def test_windows_are_the_recording_and_none_is_tiny(count: int, block: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    windows = cut(samples, block)
    assert np.array_equal(np.concatenate([*windows, np.empty(0, np.float32)]), samples)
    assert all(len(window) <= WINDOW for window in windows)
    assert all(len(window) % HOP == 0 for window in windows[:-1])
    assert [len(window) for window in windows] == [len(window) for window in cut(samples, 333)]
    if count > WINDOW:
        assert min(len(window) for window in windows) >= WINDOW // 2 - HOP
    else:
        assert len(windows) == (count > 0)


def test_a_recording_of_one_window_stays_whole_beside_the_hop() -> None:
    windower = Windower(1_650, HOP)
    assert not list(windower.push(np.zeros(1_650, np.float32)))
    assert [len(window) for window in windower.finish()] == [1_650]


def test_no_more_than_two_windows_are_held() -> None:
    windower = Windower(WINDOW, HOP)
    for _ in range(200):
        for _window in windower.push(np.zeros(130, np.float32)):
            pass
        assert sum(len(part) for part in windower._parts) < 2 * WINDOW


def cut_sound(samples: np.ndarray, block: int, min_samples: int = 1) -> list[np.ndarray]:
    windower = SoundWindower(WINDOW, HOP, min_samples)
    windows = [w.copy() for at in range(0, len(samples), block) for w in windower.push(samples[at : at + block])]
    assert windower.total_samples == len(samples)
    return windows + [window.copy() for window in windower.finish()]


@few_examples
@given(before=LENGTHS, sound=st.integers(3, 6_000), after=LENGTHS, block=st.integers(20, 9_000))
def test_silence_at_the_ends_is_windows_of_its_own(before: int, sound: int, after: int, block: int) -> None:
    speech = np.random.default_rng(0).uniform(0.1, 1, sound).astype(np.float32)
    speech[sound // 3 : sound // 2] = 0  # a pause is no end
    recording = np.concatenate([np.zeros(before), speech, np.zeros(after)]).astype(np.float32)
    windows = cut_sound(recording, block)
    assert np.array_equal(np.concatenate([*windows, np.empty(0, np.float32)]), recording)
    assert all(0 < len(window) <= WINDOW for window in windows)
    ahead = sum(len(window) for window in windows[: next((i for i, w in enumerate(windows) if w.any()), 0)])
    assert ahead == before
    sounding = [window for window in windows if window.any()]
    assert [len(window) for window in sounding] == [
        len(window) for window in cut(recording[ahead : before + sound], block)
    ]


@pytest.mark.parametrize(("before", "after"), [(500, 0), (0, 500), (250, 250), (30, 70)])
def test_sound_too_short_for_a_model_keeps_silence_beside_it(before: int, after: int) -> None:
    recording = np.concatenate([np.zeros(before), np.ones(50), np.zeros(after)]).astype(np.float32)
    windows = cut_sound(recording, 64, min_samples=120)
    assert np.array_equal(np.concatenate(windows), recording)
    (sounding,) = [len(window) for window in windows if window.any()]
    assert 120 <= sounding < 120 + HOP


def test_hours_of_silence_need_no_memory() -> None:
    windower = SoundWindower(WINDOW, HOP, 1)
    for _ in range(1_000):
        assert not list(windower.push(np.zeros(WINDOW, np.float32)))
    assert not list(windower.push(np.ones(1, np.float32)))
    windows = list(windower.finish())
    assert len(windows) == 1_001
    assert len({window.__array_interface__["data"] for window in windows[:-1]}) == 1


def test_pooling_weighs_by_length() -> None:
    pooled = pool_scores([np.array([1, 5], np.float32), np.array([4, 2], np.float32)], [200, 100])
    assert pooled.dtype == np.float64
    assert pooled.tolist() == [2.0, 4.0]


def test_frames_join_on_one_time_axis() -> None:
    frames = [np.full((valid_frames(length, HOP) + 3, 2), value, np.float32) for value, length in ((1, 400), (3, 250))]
    joined = join_frames([frames[0], None, frames[1]], [400, 400, 250], HOP, 2)
    assert joined[:, 0].tolist()[:5] == [1, 1, 1, 1, 1]
    assert np.isnan(joined[5:8]).all()
    assert joined[8:, 1].tolist() == [3, 3, 3]
    assert len(joined) == valid_frames(1_050, HOP)


@pytest.mark.parametrize(("before", "first"), [(0, 0), (49, 0), (50, 1), (149, 1), (150, 2), (199, 2)])
def test_frames_after_silence_stand_at_the_nearest_place(before: int, first: int) -> None:
    window = np.arange(valid_frames(400, HOP), dtype=np.float32)[:, None]
    joined = join_frames([None, window], [before, 400], HOP, 1)[:, 0]
    assert len(joined) == valid_frames(before + 400, HOP)
    sounding = joined[first : first + len(window)]
    assert sounding.tolist() == window[: len(sounding), 0].tolist()
    assert len(sounding) >= len(window) - 1
    assert np.isnan(joined[:first]).all()


def test_windows_far_below_the_loudest_do_not_count():
    assert level_weights([-20.0, -30.0, -38.0, -44.0, -np.inf]).tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert level_weights([-60.0]).tolist() == [1.0]
