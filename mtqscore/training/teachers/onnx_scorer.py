"""Models of mtqscore as teachers, with the windows, the batches and the scores of ``mtqscore assess``."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mtqscore.base.machine import usable_cores
from mtqscore.config import AssessConfig
from mtqscore.errors import InputError
from mtqscore.labels.table import LabelledRecording
from mtqscore.models import load_model
from mtqscore.scores import Assessment, Status, named_scores
from mtqscore.scoring.assessor import Assessor
from mtqscore.scoring.session import Scorer
from mtqscore.targets import SAMPLE_RATE_HZ
from mtqscore.training.teachers.teacher import Clip, ClipTeacher, TeacherEstimate

WITHOUT_SCORE = (Status.OK, Status.TOO_SHORT, Status.SILENT, Status.NON_FINITE)
"""States of recordings that can be read; all but the first have no estimate."""


class OnnxTeacher(ClipTeacher):
    """A model that was exported, of any targets; its estimates are the scores of ``mtqscore assess``."""

    def __init__(self, model: str) -> None:
        scorer = Scorer(load_model(model), "cpu", any_targets=True)
        self._assessor = Assessor.over(scorer, AssessConfig(model=model, device="cpu", frames=True))
        super().__init__(model, scorer.info.targets, scorer.sha256)

    def estimate(self, rows: Sequence[LabelledRecording]) -> NDArray[np.float32]:
        """Estimate all targets of some recordings; an InputError where one cannot be read."""
        found = []
        for row, assessment in zip(rows, self._assessor.assess_files(row.path for row in rows), strict=True):
            if assessment.status not in WITHOUT_SCORE:
                raise InputError(f"{row.path}: {assessment.reason}")
            found.append(self._estimate(assessment, 0).scores)
        return np.array(found, dtype=np.float32).reshape(-1, len(self.targets))

    def estimate_clips(self, clips: Sequence[Clip]) -> list[TeacherEstimate]:
        """Estimate all targets of some recordings, several at a time."""
        assessor = self._assessor.with_threads(1)
        with ThreadPoolExecutor(usable_cores()) as pool:
            assessments = pool.map(lambda clip: assessor.assess_array(clip, SAMPLE_RATE_HZ), clips)
            return [self._estimate(one, len(clip)) for one, clip in zip(assessments, clips, strict=True)]

    def _estimate(self, assessment: Assessment, samples: int) -> TeacherEstimate:
        return TeacherEstimate.from_scores(named_scores(assessment), assessment.frames, self.targets, samples)
