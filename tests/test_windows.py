"""Windows: nothing lost, nothing tiny, nothing held for long."""

from __future__ import annotations

import numpy as np
import pytest

from mtqscore.windows import Windower, join_frames, level_weights, pool_scores, valid_frames

WINDOW, HOP = 1_600, 100


def cut(samples: np.ndarray, block: int) -> list[np.ndarray]:
    windower = Windower(WINDOW, HOP)
    windows = [window for at in range(0, len(samples), block) for window in windower.push(samples[at : at + block])]
    assert windower.total_samples == len(samples)
    return windows + list(windower.finish())


@pytest.mark.parametrize("count", [0, 1, 99, 1_599, 1_600, 1_601, 3_199, 3_200, 3_201, 16_000, 20_001])
def test_windows_are_the_recording_and_none_is_tiny(count: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    windows = cut(samples, 700)
    assert np.array_equal(np.concatenate([*windows, np.empty(0, np.float32)]), samples)
    assert all(len(window) <= WINDOW for window in windows)
    assert all(len(window) % HOP == 0 for window in windows[:-1])
    if count > WINDOW:
        assert min(len(window) for window in windows) >= WINDOW // 2 - HOP
    else:
        assert len(windows) == (count > 0)


def test_a_recording_of_one_window_stays_whole_beside_the_hop() -> None:
    windower = Windower(1_650, HOP)
    assert not list(windower.push(np.zeros(1_650, np.float32)))
    assert [len(window) for window in windower.finish()] == [1_650]


def test_cuts_do_not_depend_on_the_blocks() -> None:
    samples = np.arange(12_345, dtype=np.float32)
    lengths = [[len(window) for window in cut(samples, block)] for block in (1, 333, 5_000, 50_000)]
    assert lengths.count(lengths[0]) == len(lengths)


def test_no_more_than_two_windows_are_held() -> None:
    windower = Windower(WINDOW, HOP)
    for _ in range(200):
        for _window in windower.push(np.zeros(130, np.float32)):
            pass
        assert sum(len(part) for part in windower._parts) < 2 * WINDOW


def test_pooling_weighs_by_length() -> None:
    pooled = pool_scores([np.array([1, 5], np.float32), np.array([4, 2], np.float32)], [200, 100])
    assert pooled.dtype == np.float64
    assert pooled.tolist() == [2.0, 4.0]


def test_frames_join_on_one_time_axis() -> None:
    frames = [np.full((valid_frames(length, HOP) + 3, 2), value, np.float32) for value, length in ((1, 400), (3, 250))]
    joined = join_frames([frames[0], None, frames[1]], [400, 400, 250], HOP, 2)
    assert joined[:, 0].tolist()[:4] == [1, 1, 1, 1]
    assert np.isnan(joined[4:8]).all()
    assert joined[8:, 1].tolist() == [3, 3, 3]
    assert len(joined) == valid_frames(1_050, HOP)


def test_windows_far_below_the_loudest_do_not_count():
    assert level_weights([-20.0, -30.0, -38.0, -44.0, -np.inf]).tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert level_weights([-60.0]).tolist() == [1.0]
