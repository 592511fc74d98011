"""Files and arrays as streams of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mtqscore.audio import sources as audio
from mtqscore.audio.sources import BLOCK_VALUES, ArraySource, FileSource, Resampler, Source
from mtqscore.scores import Status, UnscorableError
from tests.signals import RATE_HZ, speechlike, write


def read_all(source: Source) -> np.ndarray:
    return np.concatenate(list(source.blocks()))


def test_a_file_is_read_whole_in_bounded_blocks(tmp_path: Path) -> None:
    samples = speechlike(30, channels=3)
    with FileSource(str(write(tmp_path / "a.wav", samples, subtype="FLOAT"))) as source:
        blocks = list(source.blocks())
        assert (source.sample_rate_hz, source.channels, source.truncated) == (RATE_HZ, 3, False)
        assert max(block.size for block in blocks) <= BLOCK_VALUES
        assert np.array_equal(np.concatenate(blocks), samples)
        assert np.array_equal(read_all(source), samples), "a second pass starts anew"


@pytest.mark.parametrize("name", sorted(set(soundfile.available_formats()) - {"RAW", "SD2"}))
def test_every_format_of_libsndfile_is_found_and_read(tmp_path: Path, name: str) -> None:
    from mtqscore.audio.discovery import find_inputs

    rate_hz = 22_050 if name in ("SVX", "MPC2K") else 8_000 if name == "WVE" else RATE_HZ
    samples = speechlike(1, rate_hz)
    path = tmp_path / f"a.{name.lower()}"
    try:
        write(path, samples, rate_hz, format=name, subtype=soundfile.default_subtype(name))
    except (soundfile.LibsndfileError, TypeError):
        pytest.skip(f"libsndfile does not write {name} with its default encoding")
    (item,) = find_inputs([str(tmp_path)])
    with FileSource(item.path) as source:
        heard = read_all(source)[:, 0]
    assert len(heard) >= len(samples) * 0.9
    assert 0.02 < heard.std() < 0.3


def test_the_extension_decides_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    for name in ("a.raw", "a.txt", "a"):
        (tmp_path / name).write_bytes((tmp_path / "a.wav").read_bytes())
        with FileSource(str(tmp_path / name)) as source:
            assert len(read_all(source)) == RATE_HZ


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        (".wav", "PCM_16"),
        (".aiff", "PCM_16"),
        (".au", "PCM_16"),
        (".w64", "PCM_16"),
        (".flac", "PCM_16"),
        (".ogg", "VORBIS"),
        (".ogg", "OPUS"),
        (".mp3", "MPEG_LAYER_III"),
        (".wav", "GSM610"),
        (".wav", "IMA_ADPCM"),
    ],
)
def test_half_a_file_is_read_and_called_truncated(tmp_path: Path, suffix: str, subtype: str) -> None:
    whole = write(tmp_path / f"whole{suffix}", speechlike(6), subtype=subtype)
    with FileSource(str(whole)) as source:
        count = len(read_all(source))
        assert not source.truncated
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with FileSource(str(half)) as source:
        read = len(read_all(source))
        assert source.truncated
    assert 0.25 * count < read < 0.65 * count


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        (".wav", "PCM_16"),
        (".flac", "PCM_24"),
        (".ogg", "VORBIS"),
        (".ogg", "OPUS"),
        (".mp3", "MPEG_LAYER_III"),
        (".wav", "GSM610"),
        (".wav", "MS_ADPCM"),
    ],
)
def test_blocks_are_what_the_whole_file_is(tmp_path: Path, suffix: str, subtype: str) -> None:
    rate_hz = 48_000 if subtype == "OPUS" else RATE_HZ
    path = write(tmp_path / f"a{suffix}", speechlike(4 * BLOCK_VALUES / rate_hz, rate_hz), rate_hz, subtype=subtype)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    with FileSource(str(path)) as source:
        assert np.allclose(read_all(source), whole, atol=1e-6), "no decoder begins anew between blocks"


def test_what_stands_before_a_break_is_rescued(tmp_path: Path) -> None:
    samples = speechlike(20)
    path = write(tmp_path / "a.flac", samples, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: int(len(content) * 0.9)])
    with FileSource(str(path)) as source:
        heard = read_all(source)
    assert len(heard) > 0.85 * len(samples), "more than whole blocks"
    assert np.allclose(heard, samples[: len(heard)], atol=2**-15)


def test_a_size_that_streaming_programs_write_is_not_a_truncation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speechlike(1), subtype="PCM_16")
    for size, truncated in ((0xFFFFFFFF, False), (0x7FFFFFFF, False), (1_900_000_000, True)):
        content = bytearray(path.read_bytes())
        content[40:44] = size.to_bytes(4, "little")
        path.write_bytes(content)
        with FileSource(str(path)) as source:
            assert len(read_all(source)) == RATE_HZ
            assert source.truncated is truncated


def test_writing_to_a_file_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speechlike(1))
    with FileSource(str(path)) as source:
        assert not source.changed
        with path.open("ab") as stream:
            stream.write(b"more")
        assert source.changed


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    good = write(tmp_path / "a.wav", speechlike(1))
    bad = tmp_path / "bad.wav"
    bad.write_text("not a recording")
    before = count_descriptors()
    for _ in range(5):
        with FileSource(str(good)) as source:
            read_all(source)
        with pytest.raises(UnscorableError):
            FileSource(str(bad))
    assert count_descriptors() == before


@pytest.mark.parametrize(
    ("samples", "scale"),
    [
        (np.array([0, -32768, 16384], np.int16), 2**15),
        (np.array([5, -(2**31)], np.int32), 2**31),
        (np.array([0.5, -1.0]), 1),
    ],
)
def test_an_array_is_brought_to_full_scale_one(samples: np.ndarray, scale: float) -> None:
    source = ArraySource(samples, RATE_HZ)
    assert np.allclose(read_all(source)[:, 0], samples / scale)


@pytest.mark.parametrize(
    ("samples", "rate_hz"),
    [
        (np.zeros((2, 2, 2)), RATE_HZ),
        (np.zeros(3, np.uint8), RATE_HZ),
        (np.array(["a"]), RATE_HZ),
        (np.zeros((5, 0)), RATE_HZ),
        (np.zeros(5), 0),
    ],
)
def test_what_is_no_audio_is_refused(samples: np.ndarray, rate_hz: int) -> None:
    with pytest.raises(UnscorableError) as caught:
        ArraySource(samples, rate_hz)
    assert caught.value.status is Status.UNREADABLE


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_resampling_in_pieces_is_resampling(rate_hz: int) -> None:
    samples = speechlike(2, rate_hz)[:, 0]
    resampler = Resampler(rate_hz)
    pieces = [resampler.push(samples[start : start + 5_000]) for start in range(0, len(samples), 5_000)]
    pieces.append(resampler.push(np.empty(0, np.float32), last=True))
    assert np.allclose(np.concatenate(pieces), soxr.resample(samples, rate_hz, RATE_HZ), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_a_resampler_that_is_used_again_is_as_good_as_new(rate_hz: int) -> None:
    audio._idle_streams.cache_clear()
    for seed, seconds in enumerate((0.7, 0.3, 1.1)):
        samples = np.random.default_rng(seed).standard_normal(round(seconds * rate_hz)).astype(np.float32)
        resampler = Resampler(rate_hz)
        found = [resampler.push(samples[:1_000]), resampler.push(samples[1_000:])]
        found.append(resampler.push(samples[:0], last=True))
        assert len(audio._idle_streams(rate_hz, RATE_HZ)) == 1, "the one stream is taken again"
        fresh = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
        parts = [fresh.resample_chunk(samples[:1_000]), fresh.resample_chunk(samples[1_000:])]
        parts.append(fresh.resample_chunk(samples[:0], last=True))
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(parts))
