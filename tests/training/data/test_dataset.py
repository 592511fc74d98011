"""Recordings in batches: augmentation, labels along time, and what cannot be decoded."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from mtqscore.labels.table import FaultyTableError, read_label_table
from mtqscore.training.data.augmentation import draw_splices
from mtqscore.training.data.dataset import Dataset, decode, plain_batches
from mtqscore.training.run import train_run
from tests.training_kit import QUIET, paused_tone, small_config, write_corpus


@pytest.fixture(scope="module")
def rows(corpus):
    return read_label_table(corpus)


@pytest.fixture(scope="module")
def data(rows):
    return Dataset(rows, 1e9, 2)


def test_every_recording_is_drawn_once_an_epoch_among_others_of_similar_length(data):
    batches = [*data.batches(small_config(), 0)]
    plain = [*plain_batches(data, 4, 10**6)]
    for drawn in (batches, plain):
        assert sorted(np.concatenate([batch.rows for batch in drawn])) == list(range(len(data)))
    padding = sum(int((batch.lengths.max() - batch.lengths).sum()) for batch in batches)
    alone = sum(int(data.lengths.max()) - int(length) for length in data.lengths)
    assert padding < 0.4 * alone
    cut = data.batches(small_config(max_clip_s=0.5), 0)
    assert {int(length) for batch in cut for length in batch.lengths} == {8_000}, "longer ones are cut"
    assert np.isnan(data.labels[0, 3:]).all(), "missing labels are NaN"
    assert np.isfinite(data.labels[1, :5]).all()


def test_same_seed_and_epoch_give_the_same_batches_and_others_do_not(data):
    def flat(seed: int, epoch: int) -> torch.Tensor:
        batches = data.batches(small_config(seed=seed), epoch)
        return torch.cat([batch.waveform.flatten() for batch in batches])

    assert torch.equal(flat(1, 4), flat(1, 4))
    assert flat(1, 4).shape != flat(1, 5).shape or not torch.equal(flat(1, 4), flat(1, 5))
    assert flat(1, 4).shape != flat(2, 4).shape or not torch.equal(flat(1, 4), flat(2, 4))


def test_augmentation_cuts_the_front_and_turns_the_sign(data):
    config = small_config(recolour_db=0.0, batch_size=24, silence_share=0.0, splice_share=0.0)
    (batch,) = data.batches(config, 0)
    assert batch.recolour is None
    signs = set()
    for item, length, row in zip(batch.waveform, batch.lengths, batch.rows, strict=True):
        original = data.audio(int(row)).astype(np.float32) / 32768
        offset = len(original) - int(length)
        assert 0 <= offset <= 400
        found = item[:length].numpy()
        sign = 1 if np.array_equal(found, original[offset:]) else -1
        np.testing.assert_array_equal(found, sign * original[offset:])
        assert not item[length:].any()
        signs.add(sign)
    assert signs == {1, -1}
    np.testing.assert_array_equal(batch.labels.numpy(), data.labels[batch.rows])


def test_silence_is_put_around_whole_recordings(data):
    config = small_config(batch_size=1, recolour_db=0.0, silence_share=1.0, max_silence_s=1.0, random_polarity=False)
    places = set()
    for batch in data.batches(config, 0):
        found = np.rint(batch.waveform[0].numpy() * 32768).astype(np.int16)
        original = data.audio(int(batch.rows[0]))
        assert len(found) <= len(original) + 16_000
        # The end of the recording is never cut, so its last samples say where it lies.
        tail = np.ascontiguousarray(original[-2_000:])
        end = found.tobytes().find(tail.tobytes()) // 2 + len(tail)
        assert end >= len(tail)
        clip_start = max(0, end - len(original) + 400)
        np.testing.assert_array_equal(found[clip_start:end], original[clip_start - end :])
        places.add((clip_start > 400, end < len(found)))
    assert places >= {(True, False), (False, True), (True, True)}


def test_spliced_recordings_carry_the_labels_of_their_parts(data):
    options = {"recolour_db": 0.0, "batch_size": 24, "silence_share": 0.0, "random_polarity": False}
    (batch,) = data.batches(small_config(splice_share=1.0, max_offset_samples=0, **options), 0)
    positions = np.arange(0, batch.waveform.shape[1] + 1, 512)
    by_frame = batch.frame_labels(torch.from_numpy(positions))
    assert by_frame is not None
    assert len(batch.draft.splices) >= 2
    for splice in batch.draft.splices:
        at, row = splice.item, int(batch.rows[splice.item])
        own, other = data.labels[row], data.labels[batch.rows[splice.other]]
        inside = (positions >= splice.start) & (positions < splice.stop)
        np.testing.assert_array_equal(by_frame[at, inside], np.tile(other, (inside.sum(), 1)))
        np.testing.assert_array_equal(by_frame[at, ~inside], np.tile(own, ((~inside).sum(), 1)))
        share = (splice.stop - splice.start) / int(batch.lengths[at])
        np.testing.assert_allclose(batch.labels[at], (1 - share) * own + share * other, rtol=1e-5)
        original = data.audio(row).astype(np.float32) / 32768
        changed = np.flatnonzero(batch.waveform[at, : len(original)].numpy() != original)
        assert splice.start <= changed[0] <= splice.start + 16
        assert splice.stop - 16 <= changed[-1] + 1 <= splice.stop


def test_splices_lie_inside_both_recordings():
    rng = np.random.default_rng(0)
    lengths = [30_000, 16_000, 12_000, 90_000]
    seen = [splice for _ in range(200) for splice in draw_splices(lengths, 0.5, rng)]
    assert {splice.item for splice in seen} == {0, 1, 3}  # the shortest has no room for one
    for splice in seen:
        assert splice.other != splice.item
        assert 0 <= splice.start < splice.stop <= min(lengths[splice.item], lengths[splice.other])
        assert splice.stop - splice.start >= 8_000
    assert draw_splices(lengths, 0.0, rng) == []


def test_decoding_at_every_use_gives_the_same_as_holding_all(rows, data):
    lean = Dataset(rows, 0, 1)
    assert lean.held is None
    assert lean.memory_bytes == data.memory_bytes == 2 * data.lengths.sum()
    np.testing.assert_array_equal(lean.audio(3), data.audio(3))
    np.testing.assert_array_equal(lean.lengths, data.lengths)


def test_decode_mixes_resamples_and_keeps_the_shape(tmp_path):
    clip = paused_tone(32_000, 0.1, 0)
    soundfile.write(tmp_path / "stereo.wav", np.stack((clip, clip), axis=1), 32_000, subtype="FLOAT")
    samples = decode(tmp_path / "stereo.wav")
    assert samples.dtype == np.int16
    assert len(samples) == 16_000
    assert np.abs(samples).max() == 32_767


@pytest.fixture
def broken_corpus(tmp_path):
    """Folder of recordings, of which 4.wav holds a sample that is no number."""
    folder = write_corpus(tmp_path / "corpus", 8, kind="wav")
    broken = paused_tone(16_000, 0.1, 0)
    broken[100] = np.nan
    soundfile.write(folder / "4.wav", broken, 16_000, subtype="FLOAT")
    return folder


@pytest.mark.parametrize("limit_bytes", [1e9, 0])
def test_every_recording_that_cannot_be_read_is_named(broken_corpus, limit_bytes):
    (broken_corpus / "1.wav").write_bytes(b"RIFF....WAVE")
    soundfile.write(broken_corpus / "6.wav", np.zeros(300), 16_000)
    with pytest.raises(FaultyTableError) as caught:
        Dataset(read_label_table(broken_corpus), limit_bytes, 2)
    first, second, third = (str(fault) for fault in caught.value.faults)
    assert first.startswith("line 3:")
    assert "1.wav: cannot be decoded" in first
    assert re.match(r"line 6: .*4\.wav: holds samples that are not numbers", second)
    assert "6.wav: 300 samples" in third


def test_recordings_of_the_test_are_decoded_before_training(broken_corpus, tmp_path):
    found = read_label_table(broken_corpus)
    rows = [replace(row, split="test") if row.path.name == "4.wav" else row for row in found]
    with pytest.raises(FaultyTableError, match=r"split test: 1 fault: line 6: .*4\.wav: holds samples"):
        train_run(broken_corpus, tmp_path / "run", small_config(), QUIET, rows=rows)
    assert not [*tmp_path.glob("run/*.safetensors")]
