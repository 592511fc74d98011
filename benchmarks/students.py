"""Small networks at equal sizes: trained on labels, distilled, pruned, and pruned and distilled (arXiv 2502.05356).

    mtqscore simulate speech/ noise/ --out corpus --clips 32000 --hold-out klt --hold-out vorbis
    python benchmarks/students.py --data corpus --out study --listeners 'NOIZEUS=noizeus.csv'

A teacher learns from the labels of the corpus; so does a student of every size. Another student of every size hears
the same recordings and learns what the teacher says of them, as a whole and along time, instead of the labels
(`distilled`). A network that learned from labels is pruned to the same numbers of parameters and learns again, from
labels or from the teacher. Students of all ways and sizes train for the same number of epochs, pruned ones for some
more; students.toml has the settings.

Every run is ``mtqscore train``, ``prune`` or ``distill`` with a settings file that stays in its folder. What is
finished is not run again, and what was interrupted goes on. The command may run several times at once: each takes the
runs that no other has at hand. ``--report`` runs nothing and writes the table and the picture of what is there.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from students_report import LABELS, TEACHER, Arm, write_report

Settings = dict[str, Any]
TEACHER_RUN = "teacher"
DONE = "results.json"


@dataclass(frozen=True)
class Study:
    """Where it is and how it trains.

    Args:
        data: folder of a corpus made by ``mtqscore simulate``.
        out: folder of the study.
        settings: students.toml.
    """

    data: Path
    out: Path
    settings: Settings

    @property
    def table(self) -> Path:
        """Labels and splits."""
        return self.data / "manifest.csv"

    @property
    def said(self) -> Path:
        """What the teacher says of the recordings of train and val."""
        return self.out / "teacher-scores.jsonl"

    def run_of(self, size: str, arm: Arm) -> Path:
        """Run folder of a student."""
        return self.out / "runs" / f"{size}-{arm.value}"

    def given(self, part: str, **more: object) -> Settings:
        """Settings of a kind of run."""
        return {**self.settings["all"], **self.settings[part], **more}


def main() -> None:
    """Run what is missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a corpus made by mtqscore simulate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--scale", type=Path, default=Path(__file__).with_name("students.toml"))
    parser.add_argument("--listeners", action="append", default=[], metavar="TITLE=TABLE", help="rated recordings")
    parser.add_argument("--report", action="store_true", help="run nothing, only report on what is there")
    given = parser.parse_args()
    study = Study(given.data, given.out, tomllib.loads(given.scale.read_text(encoding="utf-8")))
    study.out.mkdir(parents=True, exist_ok=True)
    if not given.report:
        for patient in (False, True):
            for start in plan(study):
                start(patient)
    runs = [(TEACHER_RUN, TEACHER, study.out / TEACHER_RUN)]
    runs += [(size, arm, study.run_of(size, arm)) for size in study.settings["sizes"] for arm in Arm]
    finished = [(size, arm, run) for size, arm, run in runs if (run / DONE).exists()]
    write_report(finished, study.table, [item.partition("=")[::2] for item in given.listeners], study.out)


def plan(study: Study) -> Iterator[Callable[[bool], None]]:
    """List all runs, those that others need first; each is called with whether to wait for other processes."""
    sizes, origin = study.settings["sizes"], study.settings["pruned_from"]
    labelled, teacher = ["train", "--data", str(study.table)], study.out / TEACHER_RUN
    learns = ["distill", "--data", str(study.table), "--labels", str(study.table), "--teacher", str(study.said)]

    def of_labels(size: str) -> Callable[[bool], None]:
        return lambda patient: carry_out(
            study.run_of(size, LABELS), labelled, study.given("student", network={"size": size}), patient
        )

    def distilled(size: str) -> Callable[[bool], None]:
        def start(patient: bool) -> None:
            if (teacher / DONE).exists():
                ask_teacher(study)
                settings = study.given("student", network={"size": size})
                carry_out(study.run_of(size, Arm.DISTILLED), learns, settings, patient)

        return start

    def pruned(size: str, arm: Arm) -> Callable[[bool], None]:
        def start(patient: bool) -> None:
            if not (study.run_of(origin, LABELS) / DONE).exists():
                return
            cut = prune(study, size)
            if arm is Arm.PRUNED:
                carry_out(study.run_of(size, arm), [*labelled, "--init", str(cut)], study.given("pruned"), patient)
            elif (teacher / DONE).exists():
                ask_teacher(study)
                carry_out(study.run_of(size, arm), [*learns, "--init", str(cut)], study.given("pruned"), patient)

        return start

    size = study.settings["teacher"]["size"]
    settings = {key: value for key, value in study.given("teacher", network={"size": size}).items() if key != "size"}
    yield lambda patient: carry_out(teacher, labelled, settings, patient)
    for size in dict.fromkeys([origin, *sizes]):
        yield of_labels(size)
    # What costs most comes late, so that a study that is cut short compares something.
    *cheap, dear = sizes
    for size in cheap:
        yield distilled(size)
    for size in study.settings["pruned_to"]:
        for arm in (Arm.PRUNED, Arm.PRUNED_DISTILLED):
            yield pruned(size, arm)
    yield distilled(dear)


def ask_teacher(study: Study) -> None:
    """Let the teacher score the recordings of train and val once, along time too."""
    with (study.out / "teacher.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if study.said.exists():
            return
        with study.table.open(newline="", encoding="utf-8") as stream:
            wanted = [record["path"] for record in csv.DictReader(stream) if record["split"] != "test"]
        names, model = study.out / "teacher-hears.txt", study.out / "teacher.onnx"
        names.write_text("".join(f"{(study.data / path).resolve()}\n" for path in wanted), encoding="utf-8")
        if not model.exists():
            every = "s_mos,n_mos,g_mos,pesq,stoi,sdi"
            mtqscore(["export", str(study.out / TEACHER_RUN), "--out", str(model), "--targets", every])
        partial = study.said.with_name("teacher-scores-partial.jsonl")
        mtqscore(["assess", "--from-list", str(names), "--model", str(model), "--frames", "--jsonl", str(partial)])
        partial.replace(study.said)


def prune(study: Study, size: str) -> Path:
    """Cut the network that is pruned to the parameters of a size, once."""
    from mtqscore.training.checkpoint import load_network, read_checkpoint
    from mtqscore.training.export.inference_cost import count_parameters
    from mtqscore.training.networks.compact import CompactNet
    from mtqscore.training.sizes import SIZES

    origin, out = study.run_of(study.settings["pruned_from"], LABELS), study.out / "cut" / size
    out.parent.mkdir(exist_ok=True)
    with (out.parent / f"{size}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "pruning.json").exists():
            whole = load_network(read_checkpoint(origin))
            keep = count_parameters(CompactNet(SIZES[size])) / count_parameters(whole)
            threads = str(study.settings["all"].get("threads", 0))
            command = ["prune", str(origin), "--data", str(study.table), "--keep", f"{keep:.4f}", "--out", str(out)]
            mtqscore([*command, "--threads", threads])
    return out


def carry_out(folder: Path, command: list[str], settings: Settings, patient: bool) -> None:
    """Train unless it is done, or another process is at it and this one is not patient."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "settings.toml").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError:
            return
        if (folder / DONE).exists():
            return
        print(f"{folder.name} …", file=sys.stderr, flush=True)
        file.truncate(0)
        file.write("".join(f"{key} = {toml(value)}\n" for key, value in settings.items()))
        file.flush()
        mtqscore([*command, "--config", file.name, "--out", str(folder)])


def mtqscore(arguments: list[str]) -> None:
    """Call the product; what it says of a failure ends the study."""
    done = subprocess.run([sys.executable, "-m", "mtqscore", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"mtqscore {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")


def toml(value: object) -> str:
    """Write a plain value as TOML; JSON and TOML agree on all but tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


if __name__ == "__main__":
    main()
