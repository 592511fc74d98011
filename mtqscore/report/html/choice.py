"""Choice of the recordings to hear and see: the worst, those that fail a gate, and a sample of the rest."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from mtqscore.analysis.gates import GateReport
from mtqscore.audio.inputs import Stamp
from mtqscore.audio.sources import path_stamp
from mtqscore.report.html.curves import Excerpt, cut_excerpt
from mtqscore.scores import Assessment, named_scores

SAMPLE_SEED = 0
"""The same rows in the same order give the same report."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scored recording that may be shown in detail.

    Args:
        index: position of its row.
        assessment: its row, without scores along time.
        excerpt: the stretch to show, with its curves.
        stamp: size and time of change of its file when it was scored; None when it has none.
        why: reason for showing it, in words; empty when all are shown.
    """

    index: int
    assessment: Assessment
    excerpt: Excerpt
    stamp: Stamp | None
    why: str = ""

    @property
    def g_mos(self) -> float:
        """G-MOS, the order of candidates."""
        return named_scores(self.assessment)["g_mos"]


class Choice:
    """Keeps what may be shown while rows come: for each score the worst, and a sample of all.

    Memory is bounded by the number of recordings to show, not by the number of rows.

    Args:
        targets: names of the scores.
        files: recordings to show in all.
        excerpt_s: longest stretch of one recording.
    """

    def __init__(self, targets: Sequence[str], files: int, excerpt_s: float) -> None:
        self._files = files
        self._excerpt_s = excerpt_s
        self._worst_files = files - files // 3
        # Negative scores, so that the first of a heap is the one to give way.
        self._worst: dict[str, list[tuple[float, int, Candidate]]] = {target: [] for target in targets}
        self._sample: list[Candidate] = []
        self._random = random.Random(SAMPLE_SEED)
        self._scored = 0

    def offer(self, index: int, assessment: Assessment) -> None:
        """Take one row; rows without scores have nothing to show."""
        if not self._files or not assessment.ok:
            return
        self._scored += 1
        scores = named_scores(assessment)
        heaps = [
            (heap, -scores[target])
            for target, heap in self._worst.items()
            if target in scores and (len(heap) < self._worst_files or -scores[target] > heap[0][0])
        ]
        place = self._random.randrange(self._scored)
        if not heaps and place >= self._files:
            return
        candidate = self._candidate(index, assessment)
        for heap, key in heaps:
            (heapq.heappush if len(heap) < self._worst_files else heapq.heapreplace)(heap, (key, -index, candidate))
        if len(self._sample) < self._files:
            self._sample.append(candidate)
        elif place < self._files:
            self._sample[place] = candidate

    def _candidate(self, index: int, assessment: Assessment) -> Candidate:
        excerpt = cut_excerpt(assessment, self._excerpt_s)
        return Candidate(index, replace(assessment, frames=None), excerpt, path_stamp(assessment.path))

    def chosen(self, gates: GateReport | None) -> list[Candidate]:
        """Choose, now that all rows are known, and give the recordings to show, worst first."""
        if self._scored <= self._files:
            return _worst_first(self._sample)
        picks: dict[int, Candidate] = {}
        for candidate, why in chain(self._failing(gates), self._lowest()):
            if len(picks) < self._worst_files:
                picks.setdefault(candidate.index, replace(candidate, why=why))
        rest = sorted((item for item in self._sample if item.index not in picks), key=lambda item: item.g_mos)
        wanted = min(self._files - len(picks), len(rest))
        for step in range(wanted):
            candidate = rest[round((step + 0.5) * len(rest) / wanted - 0.5)]
            picks[candidate.index] = replace(candidate, why="from a random sample of the rest")
        return _worst_first(picks.values())

    def _failing(self, gates: GateReport | None) -> Iterable[tuple[Candidate, str]]:
        """Recordings that failed gates name, taking turns between the gates."""
        failed = [verdict for verdict in gates.verdicts if not verdict.passed] if gates is not None else []
        kept = {candidate.index: candidate for heap in self._worst.values() for _, _, candidate in heap}
        for turn in zip_longest(*([(verdict.gate.name, worst) for worst in verdict.worst] for verdict in failed)):
            for text, worst in filter(None, turn):
                if worst.row in kept:
                    yield kept[worst.row], f"stands out in the failed gate {text}"

    def _lowest(self) -> Iterable[tuple[Candidate, str]]:
        for _, _, candidate in sorted(self._worst.get("g_mos", ()), key=lambda entry: entry[:2], reverse=True):
            yield candidate, "among the lowest G-MOS"


def _worst_first(chosen: Iterable[Candidate]) -> list[Candidate]:
    return sorted(chosen, key=lambda item: (item.g_mos, item.index))
