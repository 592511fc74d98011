"""``mtqscore assess``: score recordings, show or write the results, and check gates."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import typer

from mtqscore.base.files import STDOUT
from mtqscore.base.option import option
from mtqscore.cli.console import clean_endings, say, without_native_noise
from mtqscore.cli.from_config import NOTHING, Given, takes
from mtqscore.cli.options import EngineOptions, FromList, Limits, Paths, Project, Quiet, ResultFiles
from mtqscore.cli.scoring import choose_cluster, describe_run, open_engine, read_names, score
from mtqscore.cli.settings import parse_gates
from mtqscore.cli.verdicts import choose_targets, exit_code, gate_entries, project_settings, say_verdicts
from mtqscore.config import RESULTS, AssessConfig
from mtqscore.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mtqscore.analysis.compare import CompareConfig
    from mtqscore.analysis.gates import Gate, GateJudge
    from mtqscore.audio.inputs import Input
    from mtqscore.cli.settings import Settings
    from mtqscore.report.formats import Writer
    from mtqscore.report.summary import RunSummary
    from mtqscore.results.resume import ResumedFile
    from mtqscore.results.run import Results, Run
    from mtqscore.results.shards import Shard
    from mtqscore.scores import Assessment
    from mtqscore.scoring.engine import Engine as Scoring

EXAMPLES = """Examples:

mtqscore assess recordings/ 'more/**/*.flac' --csv scores.csv

mtqscore assess recordings/ --fail-under 'g>=3.2' --junit junit.xml

mtqscore assess recordings/ --jsonl scores.jsonl --resume --html report.html
"""


@dataclass(frozen=True)
class Writing:
    """The manner in which results are written."""

    html_files: int = option(30, "Recordings that the report plays and draws; 0 for none.", "--html-files N", RESULTS)
    resume: bool = option(
        False,
        "Go on where the run ended that wrote the --jsonl file; what holds is not scored.",
        "--resume",
        RESULTS,
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    run = {"scoring": AssessConfig, "where": EngineOptions, "limits": Limits, "project": Project}
    app.command("assess", epilog=EXAMPLES)(takes(**run, outputs=ResultFiles, writing=Writing)(assess))


def assess(
    paths: Paths = None,
    from_list: FromList = None,
    scoring: Given = NOTHING,
    where: Given = NOTHING,
    limits: Given = NOTHING,
    project: Given = NOTHING,
    outputs: Given = NOTHING,
    writing: Given = NOTHING,
    quiet: Quiet = False,
) -> None:
    """Score recordings: S-MOS (speech), N-MOS (background noise) and G-MOS (overall), each from 1 to 5.

    Exit codes:
    0  everything was scored, every gate holds
    1  a gate failed, or a score dropped more than --max-drop allows
    2  wrong use, or nothing matched
    3  some input could not be scored
    4  the device or the model does not work, or a result cannot be written
    130  interrupted
    """

    # NumPy's own threads would spin for a tenth of a second beside what is loaded, and have nothing to do here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with clean_endings(), without_native_noise():
        from mtqscore.audio.discovery import find_inputs

        targets = choose_targets(outputs, read=(from_list, limits.get("baseline")))
        written = Writing(**writing)
        frames, shard = scoring.get("frames", False), where.get("shard")
        _check_extent(frames, written.resume, shard, targets, judged=bool(limits.keys() - {"max_drop"}))
        settings = project_settings(project)
        entries = () if shard else gate_entries(limits, settings, quiet=quiet)
        options = settings.assess_config({**scoring, "frames": frames or "html" in targets})
        engine = EngineOptions(**where)
        cluster = choose_cluster(engine.engine, engine.address, engine.workers)
        inputs, part = _choose_shard(shard, find_inputs(read_names(paths or [], from_list)), quiet=quiet)
        with open_engine(options, cluster, engine.workers, inputs, quiet=quiet) as assessor:
            run = describe_run(assessor, frames=frames, shard=part)
            gates = parse_gates(entries, assessor.loaded.targets)
            if gates:
                from mtqscore.analysis.gates import check_patterns

                check_patterns(gates, (item.path for item in inputs))
            watch = _make_watch(gates, limits, settings, run)
            results = _Results(run, targets, _writers(written.html_files, assessor), resume=written.resume, quiet=quiet)
            summary = _score(assessor, inputs, watch, results)
    if code := exit_code(summary):
        raise typer.Exit(code)


class Watch:
    """Gathers from the rows what gates and a comparison with an earlier result need, and nothing without them."""

    def __init__(self, gates: list[Gate], base: Results | None = None, comparing: CompareConfig | None = None) -> None:
        self._base, self._comparing = base, comparing
        self._judge: GateJudge | None = None
        if gates:
            from mtqscore.analysis.gates import GateJudge

            self._judge = GateJudge(gates)
        self._rows: list[Assessment] = []

    def add(self, assessment: Assessment) -> None:
        """Take one row."""
        if self._judge is not None:
            self._judge.add(assessment)
        if self._base is not None:
            self._rows.append(assessment if assessment.frames is None else replace(assessment, frames=None))

    def finish(self, run: Run, summary: RunSummary) -> UsageError | None:
        """Put the verdict and the comparison into the summary.

        Returns:
            Why a comparison cannot be made; to be raised once the scores are safe in their files.
        """
        if self._judge is not None:
            summary.gates = self._judge.report()
        if self._base is not None:
            from mtqscore.analysis.compare import compare_results
            from mtqscore.results.run import Results

            new = Results("this run", run, tuple(self._rows))
            try:
                summary.comparison = compare_results(self._base, new, self._comparing)
            except UsageError as error:
                return error
        return None


def _check_extent(frames: bool, resume: bool, shard: str | None, targets: dict[str, str], *, judged: bool) -> None:
    """Refuse curves without a place for them, to go on without a journal, and to judge a part."""

    if frames and not targets.keys() & {"json", "jsonl", "parquet"}:
        raise UsageError("--frames needs a file that can hold curves: --json, --jsonl or --parquet")
    if resume and targets.get("jsonl", STDOUT) == STDOUT:
        raise UsageError("--resume needs --jsonl FILE: the file of the run that is to go on")
    if shard and judged:
        raise UsageError(
            "--shard scores a part, and gates and --baseline judge a whole: give them to mtqscore gate "
            "and mtqscore compare, with what mtqscore merge made of all parts"
        )


def _choose_shard(shard: str | None, inputs: list[Input], *, quiet: bool) -> tuple[list[Input], Shard | None]:

    if shard is None:
        return inputs, None
    from mtqscore.results.shards import parse_shard, take_shard

    chosen, part = take_shard(inputs, *parse_shard(shard, os.environ))
    if not quiet:
        say(f"shard {part}: {part.recordings:,} of {part.all_recordings:,} recordings")
    return chosen, part


def _writers(html_files: int, assessor: Scoring) -> dict[str, Callable[[TextIO, Run], Writer]]:
    """Writers that take more than a stream and the run."""

    def html_writer(stream: TextIO, run: Run) -> Writer:
        from mtqscore.report.html import HtmlConfig, HtmlWriter

        return HtmlWriter(stream, run, HtmlConfig(files=html_files), assessor.scorer)

    return {"html": html_writer}


def _make_watch(gates: list[Gate], limits: Given, settings: Settings, run: Run) -> Watch:
    """Read the base and refuse, before anything is scored, what could not be compared in the end."""
    baseline, max_drop = limits.get("baseline"), limits.get("max_drop")
    if baseline is None:
        if max_drop:
            raise UsageError("--max-drop needs --baseline: an earlier result to compare with")
        return Watch(gates)
    from mtqscore.analysis.compare import CompareConfig, check_comparable, parse_max_drop
    from mtqscore.results.reading import read_results

    base = read_results(baseline)
    comparing = CompareConfig(max_drop=parse_max_drop(max_drop) if max_drop else settings.max_drop)
    check_comparable(base.run, run, comparing)
    return Watch(gates, base, comparing)


@dataclass(frozen=True)
class _Results:
    """Places of the results of a run, by format, and makers of writers that take more than a stream and the run."""

    run: Run
    targets: dict[str, str]
    writers: dict[str, Callable[[TextIO, Run], Writer]]
    resume: bool
    quiet: bool


def _score(assessor: Scoring, inputs: list[Input], watch: Watch, results: _Results) -> RunSummary:

    from mtqscore.base.devices import CPU_PROVIDER
    from mtqscore.report.run_reports import open_reports
    from mtqscore.report.summary import RunSummary
    from mtqscore.report.table import TableWriter, findings

    run, targets, quiet = results.run, dict(results.targets), results.quiet
    if assessor.loaded.device_note and not quiet:
        say(f"running on the CPU: {assessor.loaded.device_note}")
    summary, scored = RunSummary(), RunSummary()
    started_s = time.monotonic()
    journal_target = targets.pop("jsonl") if results.resume else None
    with ExitStack() as stack:
        table = TableWriter(sys.stdout, run, legend=not quiet)
        reports = stack.enter_context(open_reports(run, targets, table, results.writers))
        journal = None
        if journal_target is not None:
            from mtqscore.results.resume import ResumedFile

            journal = stack.enter_context(ResumedFile(journal_target, run))
            reports.add(journal.place, journal)
            inputs = journal.plan(inputs)
            if not quiet:
                _tell_plan(journal, journal.kept + len(inputs))
        reports.begin()
        new = _counted(score(assessor, inputs, quiet=quiet), scored)
        for assessment in new if journal is None else journal.rows(new):
            summary.add(assessment)
            watch.add(assessment)
            reports.write(assessment)
        wall_s = time.monotonic() - started_s
        fault = watch.finish(run, summary)
        reports.finish(summary)
    if fault is not None:
        raise fault
    if STDOUT in targets.values() and not quiet:  # where the table had no room
        for line in findings(summary):
            say(line)
    say_verdicts(summary.gates, summary.comparison, quiet=quiet)
    if scored.rows and not quiet:
        speed = f"{scored.audio_s / max(wall_s, 1e-9):,.0f} × real time"
        where = "the CPU" if run.provider == CPU_PROVIDER else run.provider
        say(f"{scored.audio_s:,.1f} s of audio in {wall_s:.2f} s, {speed}; {run.model} on {where}")
    return summary


def _counted(rows: Iterable[Assessment], summary: RunSummary) -> Iterator[Assessment]:
    """Count what passes by."""
    for row in rows:
        summary.add(row)
        yield row


def _tell_plan(journal: ResumedFile, recordings: int) -> None:

    say(f"going on: {journal.kept:,} of {recordings:,} recordings are done")
    if journal.left_out:
        say(f"not named any more, and left out in the end: {journal.left_out:,} of the file")
