"""Foreign ONNX files: inspected, refused in one line, and never a danger."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from mtqscore.errors import UsageError
from mtqscore.models import HubReference, load_model
from mtqscore.models.onnx_check import MOST_NODES, read_onnx
from mtqscore.scoring.session import Scorer
from tests.conftest import Run
from tests.fake_model import METADATA, write_fake_model
from tests.signals import speechlike, write

node, posix_only = helper.make_node, pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
HUGE = 10**12


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_fake_model(tmp_path_factory.mktemp("fake") / "m.onnx").read_bytes()


def spoil(fake: bytes, change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(fake)
    change(model)
    return bytes(model.SerializeToString())


def constant(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def with_nodes(*nodes: onnx.NodeProto, **constants: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(constant(name, values) for name, values in constants.items())

    return change


def if_node(*inner: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = (), depth: int = 1) -> onnx.NodeProto:
    """An If around nodes, so many deep."""
    graph = helper.make_graph(list(inner), "g", [], [], list(tensors))
    made = node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)
    return made if depth == 1 else if_node(made, depth=depth - 1)


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def sparse() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(constant("v", [1]), constant("i", [5]), [HUGE])


def claim(**fields: object) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.initializer.append(TensorProto(name="liar", **fields))


def declare(*sizes: int) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.value_info.append(helper.make_tensor_value_info("wide", 1, sizes))


def own_function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node("Abs", ["a"], ["b"])], []))


REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "custom operator": (with_nodes(node("Evil", ["a"], ["b"], domain="evil.corp")), "not of the ONNX standard"),
    "onnxruntime's own operator": (with_nodes(node("Gelu", ["a"], ["b"], domain="com.microsoft")), "'com.microsoft'"),
    "custom operator within": (with_nodes(if_node(node("E", [], ["b"], domain="evil"), depth=5)), "'evil'"),
    "custom domain": (lambda model: model.opset_import.append(helper.make_opsetid("evil", 1)), "'evil'"),
    "hostile domain": (with_nodes(node("E", [], ["b"], domain="\n\x1b[2J" + "x" * 500)), r"\n\x1b"),
    "function": (own_function, "functions of its own"),
    "loop": (with_nodes(node("Loop", ["m", "c"], ["o"])), "Loop is a loop"),
    "scan within": (with_nodes(if_node(node("Scan", ["m"], ["o"]))), "Scan is a loop"),
    "deep graphs": (with_nodes(if_node(node("Abs", ["a"], ["b"]), depth=9)), "graphs within graphs"),
    "other file": (lambda model: model.graph.initializer.append(external("weights.bin")), "'far' is kept in another"),
    "file elsewhere": (lambda model: model.graph.initializer.append(external("/etc/passwd")), "another file"),
    "file above": (with_nodes(node("Constant", [], ["o"], value=external("../../x"))), "another file"),
    "file within": (with_nodes(if_node(tensors=(external("x"),))), "another file"),
    "sparse constant": (lambda model: model.graph.sparse_initializer.append(sparse()), "sparse"),
    "sparse value": (with_nodes(node("Constant", [], ["o"], sparse_value=sparse())), "sparse"),
    "training": (lambda model: model.training_info.add(), "training"),
    "claim": (claim(data_type=1, dims=[1 << 20], raw_data=b"1234"), "claims 1048576 elements and has 1 at most"),
    "listed claim": (claim(data_type=1, dims=[1 << 20], float_data=[1.0]), "claims 1048576"),
    "empty claim": (claim(data_type=8, dims=[1 << 20]), "claims 1048576 elements and has 0"),
    "absurd claim": (claim(data_type=1, dims=[HUGE]), "has the shape 1000000000000"),
    "flat claim": (claim(data_type=1, dims=[HUGE, 0]), "has the shape"),
    "negative claim": (claim(data_type=1, dims=[-1, -1]), "has the shape -1 x -1"),
    "many axes": (claim(data_type=1, dims=[1] * 600, raw_data=b"1234"), "has the shape 1 x 1"),
    "unknown type": (claim(data_type=99, dims=[1], raw_data=b"1234"), "unknown type 99"),
    "declared": (declare(1 << 20, 1 << 20), "'wide' is declared with 1048576 x 1048576"),
    "expand": (with_nodes(node("Expand", ["one", "s"], ["o"]), s=[HUGE]), f"Expand would make {HUGE}"),
    "expand within": (with_nodes(if_node(node("Expand", ["one", "s"], ["o"])), s=[1 << 20, 1 << 20]), "Expand would"),
    "fill": (with_nodes(node("ConstantOfShape", ["s"], ["o"]), s=[1 << 20, 1 << 20]), "ConstantOfShape would make"),
    "tile": (with_nodes(node("Tile", ["one", "s"], ["o"]), s=[HUGE]), "Tile would make"),
    "range": (with_nodes(node("Range", ["a", "b", "c"], ["o"]), a=0, b=-HUGE, c=-1), "Range would make"),
    "constant node": (
        with_nodes(node("Constant", [], ["s"], value_ints=[HUGE]), node("ConstantOfShape", ["s"], ["o"])),
        "ConstantOfShape would make",
    ),
    "constant tensor node": (
        with_nodes(node("Constant", [], ["s"], value=constant("", [HUGE])), node("Tile", ["one", "s"], ["o"])),
        "Tile would make",
    ),
    "many operators": (
        lambda model: model.graph.node.extend([model.graph.node[0]] * (MOST_NODES + 1)),
        f"{MOST_NODES} operators",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_do_harm_is_refused(fake: bytes, case: str) -> None:
    change, said = REFUSED[case]
    with pytest.raises(UsageError) as refusal:
        read_onnx(spoil(fake, change), "foreign.onnx")
    text = str(refusal.value)
    assert said in text
    assert text.startswith("foreign.onnx: ")
    assert text.isprintable()
    assert len(text) < 400


def test_only_files_of_the_package_itself_are_not_inspected_again(
    bundle: Path, fake: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(bundle / "hub"))
    harmful = spoil(fake, REFUSED["loop"][0])
    own = {"name": "own", "version": "1", "file": "m.onnx", "sha256": hashlib.sha256(harmful).hexdigest()}
    own |= {"size": len(harmful), "licence": "MIT", "conformance": "1"}
    fetched = HubReference("owner/name", "0" * 40)
    for place in (bundle / "home" / "m.onnx", fetched.cached("m.onnx")):
        place.parent.mkdir(parents=True)
        place.write_bytes(harmful)
    (bundle / "home" / "registry.json").write_text(json.dumps({"models": [own]}))
    listed = json.loads((bundle / "registry.json").read_text())
    source = {"repository": fetched.repository, "revision": fetched.revision}
    listed["models"].append(own | {"name": "fetched", "source": source})
    (bundle / "registry.json").write_text(json.dumps(listed))
    assert load_model("m").bundled
    for model in ("own", "fetched", str(bundle / "home" / "m.onnx")):
        with pytest.raises(UsageError, match="is a loop"):
            Scorer(load_model(model), "cpu")


def test_what_a_scorer_may_have_passes(fake: bytes) -> None:
    harmless = with_nodes(
        if_node(node("Abs", ["one"], ["b"]), depth=8),
        node("Expand", ["one", "s"], ["o"]),
        node("Range", ["a", "b", "c"], ["o2"]),
        node("Range", ["a", "b", "z"], ["o3"]),
        node("Expand", ["one", "at_run_time"], ["o4"]),
        s=[1, 1 << 20],
        a=0,
        b=HUGE,
        c=HUGE,
        z=0,
    )
    read_onnx(spoil(fake, harmless), "m")
    read_onnx(spoil(fake, claim(data_type=22, dims=[5], raw_data=b"123")), "m")
    read_onnx(spoil(fake, claim(data_type=8, dims=[2], string_data=[b"", b""])), "m")
    read_onnx(spoil(fake, claim(data_type=1, dims=[0, 3])), "m")


def test_a_file_is_read_as_it_is(fake: bytes) -> None:
    found = read_onnx(fake, "m")
    assert found.metadata == METADATA
    assert [(value.name, value.element, value.sizes) for value in (*found.inputs, *found.outputs)] == [
        ("waveform", TensorProto.FLOAT, (None, None)),
        ("lengths", TensorProto.INT64, (None,)),
        ("scores", TensorProto.FLOAT, (None, 3)),
        ("frame_scores", TensorProto.FLOAT, (None, None, 3)),
    ]
    read_onnx(load_model(None).content, "released")


def test_a_refused_file_says_what_and_where_on_one_line(run: Run, tmp_path: Path, fake: bytes) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    name = "new\nline \x1b[2J.onnx" if os.name == "posix" else "model.onnx"
    (tmp_path / name).write_bytes(spoil(fake, REFUSED["file elsewhere"][0]))
    result = run("assess", "a.wav", model=name)
    assert (result.returncode, result.stdout) == (2, b"")
    (line,) = result.stderr.decode().splitlines()
    assert "refused: constant 'far' is kept in another file" in line
    assert line.isprintable()


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def make_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(path.with_name("unpickled"))))


def make_sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(3 << 30)


@posix_only
@pytest.mark.parametrize(
    "make",
    [
        make_pickle,
        make_sparse,
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.write_text("<html>not found</html>"),
        lambda path: write(path.with_suffix(".wav"), speechlike(1)).rename(path),
    ],
)
def test_what_is_no_model_at_all_is_refused_at_once(run: Run, tmp_path: Path, make: Callable[[Path], object]) -> None:
    write(tmp_path / "a.wav", speechlike(1))
    make(tmp_path / "x.onnx")
    result = run("assess", "a.wav", model="x.onnx", timeout=20)
    assert (result.returncode, result.stdout) == (2, b"")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "unpickled").exists()


def check_answer(content: bytes) -> None:
    """Any bytes are read, or refused in one line."""
    try:
        read_onnx(content, "m")
    except UsageError as refusal:
        assert str(refusal).startswith("m: ")
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 400


@given(st.binary(max_size=300))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_any_bytes_end_in_a_clean_answer(content: bytes) -> None:
    check_answer(content)


EDIT = st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 40]), st.binary(max_size=12))


@given(st.lists(EDIT, min_size=1, max_size=8), st.floats(0, 1))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_changed_and_truncated_files_end_in_a_clean_answer(
    fake: bytes, edits: list[tuple[float, int, bytes]], kept: float
) -> None:
    data = bytearray(fake)
    for place, length, piece in edits:
        at = int(place * len(data))
        data[at : at + length] = piece
    check_answer(bytes(data))
    check_answer(fake[: int(kept * len(fake))])


def test_graphs_that_runtimes_would_merge_are_inspected_as_one(fake: bytes) -> None:
    second = onnx.ModelProto()
    second.graph.initializer.append(external("weights.bin"))
    with pytest.raises(UsageError, match="another file"):
        read_onnx(fake + second.SerializeToString(), "m")


def test_what_is_bundled_needs_no_onnx_package_and_a_foreign_file_names_it(
    run: Run, tmp_path: Path, fake: bytes
) -> None:
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "onnx.py").write_text("raise ModuleNotFoundError('no onnx')")
    here = {"PYTHONPATH": f"{shim}{os.pathsep}{Path(__file__).parents[2]}"}
    write(tmp_path / "a.wav", speechlike(1))
    (tmp_path / "m.onnx").write_bytes(fake)
    assert run("assess", "a.wav", model=None, env=here).returncode == 0
    done = run("assess", "a.wav", model="m.onnx", env=here)
    assert (done.returncode, done.stdout) == (4, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("pip install 'mtqscore[onnx]'")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", "\x1b[2Jx\ny", r"name is '\x1b[2Jx\ny'"),
        ("name", "", "name is ''"),
        ("version", "9" * 100_000, "version is '9999"),
        ("window_samples", "1000000000000000", "window_samples is '1000000000000000'"),
        ("window_samples", "999999999", "window_samples is '999999999'"),
        ("min_samples", "9" * 5_000, "min_samples is '9999"),
        ("targets", "s_mos,n_mos,g_mos,\x1b]0;x\x07", "targets are 's_mos,n_mos,g_mos,"),
        ("targets", ",".join(["s_mos,n_mos,g_mos", *(f"t{index}" for index in range(40))]), "targets are"),
    ],
)
def test_absurd_metadata_is_refused(tmp_path: Path, key: str, value: str, said: str) -> None:
    path = write_fake_model(tmp_path / "m.onnx", metadata=METADATA | {key: value})
    with pytest.raises(UsageError) as refusal:
        Scorer(load_model(str(path)), "cpu")
    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 400
