from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "onnx", "safetensors", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from mtqscore.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "command"),
    [(["train", "--data", "x"], "mtqscore train"), (["export", "run", "--out", "x.onnx"], "mtqscore export")],
)
def test_missing_extra_is_one_line_with_its_cure(arguments, command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 4
    assert done.stderr.startswith(f"mtqscore: {command} needs the module ")
    assert "pip install 'mtqscore[train]'" in done.stderr
    assert done.stderr.count("\n") == 1
