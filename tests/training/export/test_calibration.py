"""How far runs shrink their scales, as benchmarks/calibration.py tells it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import calibration
from mtqscore.errors import InputError
from mtqscore.targets import SUPERVISED

Floats = NDArray[np.float64]
NAMES = [target.name for target in SUPERVISED]


def write_run(folder: Path, heard: Callable[[Floats], Floats], count: int = 600, unlabelled: str = "") -> Path:
    """A run whose raw scores are a function of the label with a little scatter; one target may have no labels."""
    folder.mkdir()
    for seed, split in enumerate(("val", "test")):
        rng = np.random.default_rng(seed)
        lines = [",".join(["path", *NAMES, *(f"label_{name}" for name in NAMES)])]
        for label in rng.uniform(1, 5, count):
            scores = heard(np.full(3, label)) + 0.05 * rng.standard_normal(3)
            labels = ["" if name == unlabelled else f"{label:.4f}" for name in NAMES]
            lines.append(",".join(['"a\nb, .wav"', *(f"{score:.4f}" for score in scores), *labels]))
        (folder / f"predictions_{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def judged(folder: Path, on: str = "test") -> dict[str, calibration.Judged]:
    """What each map makes of G."""
    return {one.name: one for one in calibration.judge(folder, on) if one.target.name == "g_mos"}


def test_evenly_shrunken_scale_is_mended_by_the_line(tmp_path):
    found = judged(write_run(tmp_path / "-run", lambda label: 3 + 0.6 * (label - 3)))
    none, line = (found[name].bands(found[name].labels) for name in ("none", "line"))
    np.testing.assert_allclose(none, 0.4 * (3 - np.arange(1.25, 5, 0.5)), atol=0.05)
    assert np.abs(line).max() < 0.05
    assert (found["none"].cells()[3], found["line"].cells()[3]) == ("0.60", "1.00")


def test_bent_scale_is_mended_by_maps_with_corners_only(tmp_path):
    run = write_run(tmp_path / "run", lambda label: 1 + (label - 1) ** 2 / 4)
    errors = {name: float(one.cells()[1]) for name, one in judged(run).items()}
    assert max(errors["quantiles"], errors["regression"]) < 0.6 * min(errors["line"], errors["none"])
    errors = {name: float(one.cells()[1]) for name, one in judged(run, "val").items()}
    assert errors["regression"] == min(errors.values())


def test_scatter_shrinks_no_scale_by_score_and_no_map_helps(tmp_path):
    """Least squares under much scatter: right by score, short by label; spreading it costs error."""
    rng = np.random.default_rng(5)

    def heard(label: Floats) -> Floats:
        return np.asarray(3 + 0.5 * (label - 3) + np.sqrt(1 / 3) * rng.standard_normal(len(label)))

    found = judged(write_run(tmp_path / "run", heard, 2000))
    cells = {name: [float(text) for text in one.cells()] for name, one in found.items()}
    assert cells["none"][4] == pytest.approx(1.0, abs=0.07)
    assert cells["none"][5] == pytest.approx(0.5, abs=0.05)
    assert min(cells["line"][1], cells["quantiles"][1]) > cells["none"][1] + 0.03
    assert cells["regression"][1] == pytest.approx(cells["none"][1], abs=0.02)


def test_tables_show_targets_with_labels_and_runs_without_any_are_named(tmp_path, capsys):
    identity = write_run(tmp_path / "run", lambda label: label, unlabelled="n_mos")
    calibration.print_run(identity, "test")
    text = capsys.readouterr().out
    assert text.count("| s_mos |") == text.count("| g_mos |") == 3 * len(calibration.MAPS)
    assert "| n_mos |" not in text
    with pytest.raises(InputError, match="fewer than 15 recordings"):
        calibration.judge(write_run(tmp_path / "small", lambda label: label, 14), "test")
    with pytest.raises(InputError, match=r"predictions_labels\.csv"):
        calibration.judge(identity, "labels")
