"""Any enhancement command as a degradation: ``--enhancer 'cmd {in} {out}'``."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import soundfile

from mtqscore.audio.loading import load_mono
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.labels.alignment import shifted
from mtqscore.simulation.scene import Scene

TIME_LIMIT_S = 120


def check_command(command: str) -> None:
    """Refuse a command that does not name its input and its output.

    Raises:
        UsageError: ``{in}`` or ``{out}`` is missing.
    """
    if "{in}" not in command or "{out}" not in command:
        raise UsageError(f"--enhancer {command!r}: write {{in}} and {{out}} where the command takes its two WAV files")


@dataclass(frozen=True)
class Enhancer:
    """An external command that reads one WAV file and writes another.

    Args:
        command: the command line with ``{in}`` and ``{out}``; it is split into words and run without a shell.
    """

    name: ClassVar[str] = "enhancer"
    command: str

    def apply(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Run the command on the recording at 16 kHz, undo its delay, split by the black-box method.

        Raises:
            EnvironmentProblemError: the command is missing, fails, hangs or writes no readable audio.
        """
        wide = scene.at_rate(16_000)
        mix = wide.mix
        gain = 0.5 / max(float(np.max(np.abs(mix))), 1e-9)
        with tempfile.TemporaryDirectory(prefix="mtqscore-") as folder:
            source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
            soundfile.write(source, mix * gain, wide.rate_hz, subtype="PCM_16")
            self._run(source, target)
            try:
                output, _ = load_mono(target, wide.rate_hz)
            except InputError as error:
                raise EnvironmentProblemError(f"enhancer {self.command!r} wrote no readable audio: {error}") from error
        processed, _ = shifted(output.astype(np.float64) / gain, mix, wide.rate_hz)
        return wide.divided(processed).at_rate(scene.rate_hz)

    def _run(self, source: Path, target: Path) -> None:
        places = {"{in}": str(source), "{out}": str(target)}
        words = shlex.split(self.command)
        for mark, path in places.items():
            words = [word.replace(mark, path) for word in words]
        try:
            done = subprocess.run(words, capture_output=True, timeout=TIME_LIMIT_S, check=False)
        except OSError as error:
            raise EnvironmentProblemError(f"enhancer {self.command!r} does not start: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise EnvironmentProblemError(f"enhancer {self.command!r} ran past {TIME_LIMIT_S} s") from error
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise EnvironmentProblemError(
                f"enhancer {self.command!r} ended with {done.returncode}: {said[-1] if said else 'no message'}"
            )
