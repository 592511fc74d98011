"""Models: found by name or path, verified, and refused in one line when they keep no contract."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtqscore.models as store
from mtqscore import AssessConfig, Assessor, EnvironmentProblemError, UsageError
from mtqscore.models import registry
from mtqscore.models.entry import parse_description
from mtqscore.results.columns import frames_as_dict, full_record
from mtqscore.results.run import Run
from mtqscore.scores import Assessment, FrameScores, Scores, Status
from mtqscore.scoring.devices import cuda_problem
from mtqscore.scoring.session import Scorer
from tests.conftest import Run as RunCommand
from tests.fake_model import METADATA, write_fake_model
from tests.signals import speechlike, write


@pytest.mark.parametrize("name", [None, "m", "m@2"])
def test_a_bundled_model_is_found_and_verified(bundle: Path, name: str | None) -> None:
    model = store.load_model(name)
    assert model.content == (bundle / "m.onnx").read_bytes()
    assert (model.label, model.sha256) == ("m@2", hashlib.sha256(model.content).hexdigest())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("run/best.safetensors", "mtqscore export"),
        ("run/best.pt", "not an ONNX file"),
        ("run/", "it is a folder"),
        ("owner/name", "named hf:owner/name@revision"),
        ("https://huggingface.co/owner/name", "named hf:owner/name@revision"),
        ("run/none.onnx", "no model file run/none.onnx$"),
        ("best.pth", "no model file best.pth$"),
    ],
)
def test_what_people_take_for_a_model_is_told_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("best.safetensors", "best.pt"):
        (tmp_path / "run" / name).touch()
    with pytest.raises(UsageError, match=said):
        store.load_model(model)


@pytest.mark.usefixtures("bundle")
@pytest.mark.parametrize("name", ["n", "m@1", "", "M"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match="m@2"):
        store.load_model(name)


def test_a_damaged_bundled_model_is_an_environment_problem(bundle: Path) -> None:
    content = bytearray((bundle / "m.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "m.onnx").write_bytes(content)
    with pytest.raises(EnvironmentProblemError, match="damaged"):
        store.load_model("m")
    (bundle / "m.onnx").unlink()
    with pytest.raises(EnvironmentProblemError, match="reinstall"):
        store.load_model("m")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"default": "m", "models": [{}]}', '{"default": "m", "models": 3}'])
def test_a_damaged_list_of_models_is_an_environment_problem(bundle: Path, text: str) -> None:
    (bundle / "registry.json").write_text(text)
    with pytest.raises(EnvironmentProblemError, match=r"registry\.json"):
        store.load_model(None)
    (bundle / "registry.json").unlink()
    with pytest.raises(EnvironmentProblemError, match="reinstall"):
        store.load_model(None)


@pytest.mark.parametrize(
    ("default", "newest"),
    [("m", "m@10.1"), ("m@9", "m@9"), ("other", "other@1")],
)
def test_a_name_means_its_newest_version_and_old_ones_stay(bundle: Path, default: str, newest: str) -> None:
    content = json.loads((bundle / "registry.json").read_text())
    (entry,) = content["models"]
    versions = [("m", "9"), ("m", "10.1"), ("m", "10"), ("m", "2"), ("other", "1")]
    entries = [entry | {"name": name, "version": version} for name, version in versions]
    (bundle / "registry.json").write_text(json.dumps({"default": default, "models": entries}))
    assert store.load_model(None).label == newest
    assert store.load_model("m").label == "m@10.1"
    assert [store.load_model(f"{name}@{version}").label for name, version in versions] == [
        f"{name}@{version}" for name, version in versions
    ]
    assert [item.label for item in store.installed_models()] == [f"{name}@{version}" for name, version in versions]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../m"},
        {"name": "m\n"},
        {"version": "2-beta"},
        {"version": "02"},
        {"version": 2},
        {"file": "a/m.onnx"},
        {"file": "..\\m.onnx"},
        {"file": ".onnx"},
        {"file": "m.pt"},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"size": 0},
        {"size": True},
        {"size": 1.5},
        {"size": 10**30},
        {"licence": ""},
        {"licence": "\x1b[2J"},
        {"licence": "x" * 1000},
        {"conformance": None},
        {"accuracy": {}},
        {"accuracy": [{}] * 51},
        {"accuracy": [{"data": "d", "recordings": 0}]},
        {"accuracy": [{"data": "d", "recordings": 1, "lcc": {"s_mos": 10**400}}]},
        {"accuracy": [{"data": "d", "recordings": 1, "lcc": {"s_mos": float("nan")}}]},
        {"accuracy": [{"data": "d", "recordings": 1, "lcc": {"<b>": 1}}]},
        {"source": "hf:a/b"},
        {"source": {"repository": "a/b", "revision": "main"}},
    ],
    ids=repr,
)
def test_a_list_with_an_entry_that_is_not_allowed_is_damaged(bundle: Path, changes: dict[str, object]) -> None:
    content = json.loads((bundle / "registry.json").read_text())
    content["models"][0] |= changes
    (bundle / "registry.json").write_text(json.dumps(content))
    with pytest.raises(EnvironmentProblemError, match=r"registry\.json: the list of models is damaged"):
        store.load_model(None)


@given(st.binary(max_size=200), st.floats(0, 1))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_any_description_is_read_or_refused(piece: bytes, place: float) -> None:
    whole = json.dumps(store.find_model(None).description()).encode()
    at = int(place * len(whole))
    for content in (piece, whole[:at], whole[:at] + piece + whole[at:], b"[" * 60_000):
        with suppress(ValueError):
            parse_description(content)
    assert json.dumps(parse_description(whole).description()).encode() == whole


def test_a_list_with_the_same_version_twice_or_no_default_is_damaged(bundle: Path) -> None:
    content = json.loads((bundle / "registry.json").read_text())
    for broken in (content | {"models": content["models"] * 2}, content | {"default": "n"}, content | {"default": []}):
        (bundle / "registry.json").write_text(json.dumps(broken))
        with pytest.raises(EnvironmentProblemError, match=r"registry\.json"):
            store.load_model(None)


def test_verify_says_what_is_wrong(bundle: Path) -> None:
    (entry,) = store.installed_models()
    assert (entry.label, entry.source, entry.conformance, entry.path) == ("m@2", "bundled", "1", bundle / "m.onnx")
    assert store.verify_model(entry) is None
    (bundle / "m.onnx").write_bytes(b"")
    assert "is damaged (its sha256 is e3b0c442" in str(store.verify_model(entry))
    (bundle / "m.onnx").unlink()
    assert str(store.verify_model(entry)).endswith("(No such file or directory); reinstall mtqscore")


def make_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(500))


def make_foreign(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "no model file"),
        (lambda path: path.mkdir(), "no model file"),
        (lambda path: path.touch(), "not an ONNX file"),
        (make_garbage, "not an ONNX file"),
        (make_foreign, "its inputs are x"),
        (lambda path: write_fake_model(path, drop="frame_scores"), "its outputs are scores"),
        (lambda path: write_fake_model(path, metadata={}), "its metadata has no"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"sample_rate_hz": "8000"}), "sample_rate_hz"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"window_samples": "x"}), "'x'"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"min_samples": "0"}), "min_samples"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"min_samples": "90000"}), "min_samples"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"targets": "s_mos,n_mos,loudness"}), "targets"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"targets": "s_mos,n_mos,g_mos,x"}), "4 targets"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"targets": "s_mos,n_mos,g_mos,path"}), "targets are"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"targets": "s_mos,n_mos,g_mos,g"}), "targets are"),
        (lambda path: write_fake_model(path, metadata=METADATA | {"targets": "s_mos,n_mos,g_mos,=x()"}), "targets are"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(run: RunCommand, tmp_path: Path, make: object, said: str) -> None:
    path = tmp_path / "foreign.onnx"
    make(path)  # type: ignore[operator]
    write(tmp_path / "a.wav", speechlike(1))
    result = run("assess", "a.wav", model="foreign.onnx")
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("mtqscore: foreign.onnx: ") or said == "no model file"
    assert said in line


def test_no_score_takes_the_name_of_another_column() -> None:
    run = Run("0", "m@1", "", "", ("s_mos", "n_mos", "g_mos"), AssessConfig(), frames=True)
    frames = FrameScores(0.032, run.targets, np.ones((2, 3), np.float32))
    scored = Assessment(
        "a.wav", "mean", 1.0, 16_000, Status.OK, "", (), Scores(1, 1, 1), frames, run.model, "", "", run.options
    )
    row = full_record(scored, run)
    columns = {*row, *frames_as_dict(frames)} - set(run.targets)
    for column in columns:
        with pytest.raises(UsageError, match="targets are"):
            store.parse_metadata("m", METADATA | {"targets": f"s_mos,n_mos,g_mos,{column}"})


def test_the_scorer_keeps_the_batch_contract(fake_model: str) -> None:
    scorer = Scorer(store.load_model(fake_model), "cpu")
    samples = speechlike(1)[:, 0]
    padded = np.zeros((2, 40_000), np.float32)
    padded[0, : len(samples)] = samples
    padded[1] = 0.3
    scores, frames = scorer.score(padded, np.array([len(samples), 40_000]))
    alone, _ = scorer.score(samples[np.newaxis], np.array([len(samples)]))
    assert np.allclose(scores[0], alone[0], atol=1e-5)
    assert frames.shape == (2, 40_000 // 512 + 1, 3)


def test_a_model_that_fails_is_an_environment_problem(fake_model: str) -> None:
    scorer = Scorer(store.load_model(fake_model), "cpu")
    with pytest.raises(EnvironmentProblemError, match="batch-seconds"):
        scorer.score(np.zeros((1, 2, 3), np.float32), np.array([3]))


def test_a_named_device_is_strict(fake_model: str) -> None:
    problem = cuda_problem()
    if problem is None:
        pytest.skip("CUDA works here")
    with pytest.raises(EnvironmentProblemError, match="device cuda"):
        Assessor(AssessConfig(fake_model, device="cuda"))
    assert Assessor(AssessConfig(fake_model, device="auto")).provider == "CPUExecutionProvider"


@pytest.mark.skipif(
    not any((folder / "registry.json").is_file() for folder in registry.MODEL_FOLDERS), reason="no release yet"
)
def test_the_released_models_keep_their_promises() -> None:
    default, entries = store.read_registry()
    assert default in entries
    for entry in entries.values():
        released = store.load_model(entry.label)
        assert released.bundled
        scorer = Scorer(replace(released, bundled=False), "cpu")  # inspected whole, as no later start does
        assert Scorer(released, "cpu").info == scorer.info
        assert (scorer.info.name, scorer.info.version) == (entry.name, entry.version)
        samples = speechlike(4)[:, 0]
        padded = np.zeros((3, 100_000), np.float32)
        padded[1, : len(samples)] = samples
        padded[[0, 2]] = speechlike(6.25, seed=1)[:, 0]
        scores, _ = scorer.score(padded, np.array([100_000, len(samples), 100_000]))
        alone, _ = scorer.score(samples[np.newaxis], np.array([len(samples)]))
        assert np.abs(scores[1] - alone[0]).max() < 1e-4, "the batch must not matter"
