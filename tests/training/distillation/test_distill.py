"""`mtqscore distill`: clips of any speech, a student that learns from them, and runs that go on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from mtqscore.errors import InputError, UsageError
from mtqscore.labels.table import read_label_table
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.checkpoint import load_network, read_checkpoint, write_checkpoint
from mtqscore.training.compute.distributed import ALONE
from mtqscore.training.config import DistillConfig, TeacherChoice
from mtqscore.training.data.dataset import Dataset
from mtqscore.training.distillation import dataset as lessons
from mtqscore.training.distillation.ensemble import open_ensemble
from mtqscore.training.distillation.run import distill
from mtqscore.training.distillation.run_data import DistillationInputs
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
from mtqscore.training.loop import Watch
from mtqscore.training.validation import evaluate_split
from tests.cli.test_train import SETTINGS
from tests.training_kit import QUIET, paused_tone, small_config, small_network, write_corpus

SHORT = DistillConfig(teachers=(TeacherChoice("teacher.safetensors"),), clips=12, val_clips=4, min_s=0.6, max_s=1.0)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Speech under names that nobody should use, and a teacher of six targets."""
    (tmp_path / "speech" / "-deep er").mkdir(parents=True)
    names = ["a.wav", "q'uo\"te\n.flac", "\udcff.wav", "-deep er/b.ogg", "l" * 240 + ".wav"]
    for number, name in enumerate(names):
        rate_hz = (16_000, 48_000, 8_000)[number % 3]
        clip = paused_tone(3 * rate_hz, 0.01, number)
        form = name.rpartition(".")[2].upper()
        with (tmp_path / "speech" / name).open("wb") as stream:
            soundfile.write(stream, clip if number % 2 else np.stack([clip, clip], axis=1), rate_hz, format=form)
    (tmp_path / "speech" / "no audio.wav").write_text("hello")
    soundfile.write(tmp_path / "speech" / "short.wav", np.ones(1000), 16_000)
    network = small_network(3)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.startswith("heads") and tensor.ndim == 2:
                tensor.mul_(3 if "score" in name else 3000)  # so that it hears a difference between frames
    write_checkpoint(tmp_path / "teacher.safetensors", small_config(), {"average": network.state_dict()}, {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- clips ----------------------------------------------------------------------------------------------------


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


def test_talkers_are_held_out_whole_or_else_recordings_or_what_a_table_says():
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
            heard = read_stretch(sources[draft.file], draft.start, draft.samples)
            assert np.corrcoef(heard, clip)[0, 1] > 0.9999
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


# --- runs -----------------------------------------------------------------------------------------------------


class StopError(Exception):
    """Ends a run as a kill does."""


def stopping(after: int) -> Watch:
    steps: Iterator[int] = iter(range(1000))

    def step(_done: int, _total: int, note: str) -> None:
        if note.startswith("epoch") and next(steps) == after:
            raise StopError

    return Watch(step, lambda _: None)


def weights(run: Path) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in load_file(run / "last.safetensors").items()}


def assert_same(first: Path, second: Path) -> None:
    found, expected = weights(first), weights(second)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.usefixtures("folder")
def test_run_that_stops_within_an_epoch_goes_on_to_the_bit_and_keeps_a_cache():
    """Three runs of one result: in one go, stopped and gone on with, and from the clips that the second has kept."""
    settings = {"recipe": "scratch", "teacher": "none", "epochs": 2, "batch_size": 4, "checkpoint_minutes": 1e-9}
    config = small_config(**settings, distillation=SHORT)
    cached = DistillationInputs(Path("speech"), cache=Path("kept"), workers=1)
    with pytest.raises(StopError):
        distill(cached, Path("b"), config, stopping(1), ["g_mos", "s_mos"])
    first_kept = len([*Path("kept").rglob("*.npz")])
    assert 8 <= first_kept < 12
    distill(cached, Path("b"), config, QUIET, ["g_mos", "s_mos"])
    results = distill(cached, Path("c"), config, QUIET, ["g_mos", "s_mos"])
    assert_same(Path("b"), Path("c"))
    assert len([*Path("kept").rglob("*.npz")]) == 12
    assert [*results["val"]] == ["s_mos", "g_mos"]
    assert [row.split for row in read_label_table(Path("c/validation"))] == ["val"] * 4
    with pytest.raises(UsageError, match="kept: holds clips of other recordings"):
        distill(cached, Path("d"), dataclasses.replace(config, seed=1), QUIET, ["g_mos", "s_mos"])
    with pytest.raises(UsageError, match=r"other settings \(distillation.plain_share 0.2 → 0.5\)"):
        other = dataclasses.replace(SHORT, plain_share=0.5)
        distill(cached, Path("c"), dataclasses.replace(config, distillation=other), QUIET, ["g_mos", "s_mos"])


def test_new_clips_in_every_epoch_for_any_number_of_processes_without_what_is_held_out(folder):
    sources, _ = list_speech(folder / "speech", [], lambda *_: None)
    config = dataclasses.replace(SHORT, hold_out=("mnru", "suppress", "mask", "codec"))
    maker = lessons.ClipMaker(StretchSampler(sources), StretchSampler(sources), config, seed=1, workers=2)
    try:
        passes = [maker.drafts(lessons.LEARNED, turn) for turn in (0, 1)]
        assert not {draft.key for draft in passes[0]} & {draft.key for draft in passes[1]}
        clips = [lessons.made(future) for future in [maker.submit(draft) for draft in passes[1]]]
    finally:
        maker.close()
    changed = 0
    for draft, clip in zip(passes[1], clips, strict=True):
        np.testing.assert_array_equal(clip, make_clip(draft, maker.samplers[0], config))
        changed += not np.array_equal(
            clip, make_clip(draft, maker.samplers[0], dataclasses.replace(config, hold_out=()))
        )
    assert 0 < changed < len(clips), "chains without what is held out stay as they are"


def test_validation_holds_what_the_teacher_says_along_time_and_labels_are_mixed_in(folder):
    """The teacher agrees with itself, of recordings and along them; a student that begins as it is told so too."""
    corpus = write_corpus(folder / "corpus", 8)
    settings = dataclasses.replace(SHORT, clips=6, label_share=0.25)
    config = small_config(recipe="scratch", teacher="none", epochs=1, lr=0.0, distillation=settings)
    inputs = DistillationInputs(
        Path("speech"), labelled=corpus, labels=corpus, init=Path("teacher.safetensors"), workers=1
    )
    told: list[str] = []
    results = distill(inputs, Path("run"), config, Watch(lambda *_: None, told.append))
    assert results["val"]["s_mos"]["rmse"] < 0.3
    assert any("2 recordings are left out, such as speech/" in line for line in told)

    network = load_network(read_checkpoint(Path("teacher.safetensors")))
    rows = read_label_table(Path("run/validation"))
    with np.load("run/validation/curves.npz") as kept:
        curves = [kept[row.path.name] for row in rows]
    agreed = evaluate_split(network, Dataset(rows, 1e9, 1, network.targets, curves), config)
    flat = evaluate_split(network, Dataset(rows, 1e9, 1, network.targets), config)
    assert agreed.loss < 1e-5 < 0.1 * flat.loss
    labelled = evaluate_split(network, Dataset(read_label_table(corpus), 1e9, 1), config).agreement()
    for target, found in results["teacher_labels"].items():
        assert found["rmse"] == pytest.approx(labelled[target]["rmse"], abs=1e-3, nan_ok=True)
        assert np.isnan(results["labels"][target]["rmse"]) == np.isnan(found["rmse"])


def test_batches_hold_clips_and_labelled_recordings_by_their_share(folder):
    """What the teacher says is the label of a clip; a recording of the table keeps its own."""
    rows = [row for row in read_label_table(write_corpus(folder / "corpus", 8)) if row.split == "train"]
    sources, _ = list_speech(folder / "speech", [], lambda *_: None)
    settings = dataclasses.replace(SHORT, clips=6, label_share=0.25)
    maker = lessons.ClipMaker(StretchSampler(sources), StretchSampler(sources), settings, seed=1, workers=1)
    config = small_config(splice_share=0.0, recolour_db=0.0, batch_size=3)
    try:
        ensemble = open_ensemble(SHORT.teachers, folder, torch.device("cpu"))
        taught = lessons.DistillationDataset(maker, ensemble, labelled=Dataset(rows, 1e9, 1))
        batches = [*taught.batches(config, 0, ALONE, 0)]
        (last,) = taught.batches(config, 0, ALONE, 2)
    finally:
        maker.close()
    assert len(taught) == sum(len(batch.rows) for batch in batches) == 8
    np.testing.assert_array_equal(last.waveform, batches[-1].waveform)
    tables = {tuple(row.labels[name] for name in ("s_mos", "n_mos", "g_mos")) for row in rows}
    for batch in batches:
        along = batch.frame_labels(torch.arange(0, SAMPLE_RATE_HZ // 2, 512))
        assert batch.curves is not None and along is not None
        for item, row in enumerate(batch.rows):
            known = [pytest.approx(label) for label in tables]
            assert (tuple(batch.labels[item, :3].tolist()) in known) is bool(row >= 6)
            assert (batch.curves[item] is None) is bool(row >= 6)
            steady = torch.equal(along[item].nan_to_num(), along[item, :1].nan_to_num().expand_as(along[item]))
            assert steady is bool(row >= 6)


# --- the command ----------------------------------------------------------------------------------------------


def test_student_from_the_command_line_is_exported_and_scores(run, folder):
    """Two teachers, one of them a run; what comes out is a run folder as any other."""
    (folder / "small.toml").write_text(
        f"{SETTINGS}[distillation]\nclips = 6\nval_clips = 4\nmin_s = 0.6\nmax_s = 1.0\n"
    )
    common = ("distill", "--data", "speech", "--config", "small.toml", "--workers", "1")
    done = run(
        *(*common, "--teacher", "teacher.safetensors=0.7", "--noise", "speech", "--out", "-st udent"),
        *("--alpha", "0.5", "--hold-out", "vorbis", "--hold-out", "klt"),
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    assert b"3 recordings to learn from, 2 held out" in done.stderr
    config = json.loads((folder / "-st udent" / "config.json").read_text())
    assert config["distillation"]["teachers"] == [{"source": "teacher.safetensors", "weight": 0.7}]
    assert (config["alpha"], config["distillation"]["hold_out"]) == (0.5, ["vorbis", "klt"])
    done = run("export", "./-st udent", "--out", "s.onnx", "--name", "s", "--calibration", "val")
    assert done.returncode == 0, done.stderr.decode()
    done = run("assess", "speech/a.wav", model="s.onnx")
    assert done.returncode == 0, done.stderr.decode()
    scored = run("assess", "speech", "--csv", "s.csv", "-q")
    assert scored.returncode == 3
    (folder / "small.toml").write_text(SETTINGS)
    done = run(*common, "--teacher", "s.csv", "--out", "from-scores")
    assert done.returncode == 0, done.stderr.decode()
    assert [*json.loads((folder / "from-scores" / "results.json").read_text())["val"]] == ["s_mos", "n_mos", "g_mos"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no teacher: name one or more with --teacher"),
        (["--teacher", "t=x"], 2, "--teacher t=x: give TEACHER, or TEACHER=WEIGHT"),
        (["--teacher", "table"], 2, "unlabelled speech has neither labels nor references"),
        (["--teacher", "./gone"], 3, "--teacher ./gone: no such run folder"),
        (["--teacher", "t.csv", "--plain-share", "2"], 2, "plain_share 2 is outside 0 to 1"),
        (["--teacher", "t.csv", "--size", "enormous"], 2, "size enormous: choose one of"),
        (["--teacher", "t.csv", "--targets", "mos"], 2, "targets mos"),
        (["--teacher", "t.csv", "--config", "none.toml"], 2, "none.toml: cannot read"),
    ],
)
def test_wrong_use_is_refused_in_one_line(run, tmp_path, arguments, code, message):
    done = run("distill", "--data", "none", *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_held_out_is_refused_with_what_can(run):
    done = run("distill", "--teacher", "teacher.safetensors", "--data", "speech", "--hold-out", "-k lt")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--hold-out -k lt: choose from a_law, band_limit, clip" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_settings_of_distillation_are_none_of_train(run, tmp_path):
    (tmp_path / "c.toml").write_text("[distillation]\nclips = 4\n")
    done = run("train", "--data", "none", "--config", "c.toml")
    assert done.returncode == 2
    assert b"c.toml: [distillation] is for mtqscore distill" in done.stderr
