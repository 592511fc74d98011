"""Train every arm of the MTQ-Net paper on a simulated corpus, and write its tables.

    mtqscore simulate speech/ noise/ --out corpus --clips 12000
    python benchmarks/studies/reproduction table1 --data corpus --out study

One command a table: table1, table2, figure2, table3, alpha, pseudo-labels, size; ``best`` combines the best δ and α of
each metric, ``all`` runs everything. Every run is ``mtqscore train`` with a settings file that stays in its folder;
what is finished is not run again, and what was interrupted goes on. The command may run several times at once: each
takes the runs that no other has at hand. ``--scale full.toml`` runs the published sizes.
Teacher and students learn from different talkers; val and test are those of the corpus.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tables
from arms import MOS, MPL, PSEUDO, STUDIES, Arm

from mtqscore.labels.table import read_table, write_table

Scale = dict[str, Any]


def main() -> None:
    """Run what is asked for, seed by seed, and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=[*STUDIES, "best", "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder of a corpus made by mtqscore simulate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--scale", type=Path, default=Path(__file__).with_name("small.toml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="run nothing, only write tables of what is there")
    given = parser.parse_args()
    scale = tomllib.loads(given.scale.read_text(encoding="utf-8"))
    given.out.mkdir(parents=True, exist_ok=True)
    names = [*STUDIES, "best"] if given.study == "all" else [given.study]
    if not given.report:
        split_corpus(given.data, given.out, scale["corpus"])
        # The best settings are known when every sweep has every seed.
        for group in ([name for name in names if name != "best"], [name for name in names if name == "best"]):
            for patient in (False, True):
                for seed in range(given.seeds):
                    for arm in [arm for name in group for arm in arms_of(name, given.out)]:
                        run_arm(arm, seed, given.out, scale, patient=patient)
    tables.write_teacher(given.out)
    for name in names:
        title = STUDIES[name][0] if name != "best" else "The best δ and α of each metric"
        tables.write(name, title, arms_of(name, given.out), given.out)


def arms_of(name: str, out: Path) -> list[Arm]:
    """List the arms of a study; those of ``best`` come from what the sweeps found on the validation split."""
    if name != "best":
        return STUDIES[name][1]
    arms = [MPL]
    for setting, study in (("delta", "figure2"), ("alpha", "alpha")):
        best = {target: tables.best_value(STUDIES[study][1], setting, target, out) for target in (*MOS, *PSEUDO)}
        shown = ", ".join(f"{target[0].upper()} {value:g}" for target, value in best.items() if target in MOS)
        key = hashlib.sha256(json.dumps(best).encode()).hexdigest()[:6]
        sign = {"delta": "δ", "alpha": "α"}[setting]
        arms.append(Arm(f"best-{setting}-{key}", f"best {sign} of each score ({shown})", settings={setting: best}))
    return arms


def split_corpus(data: Path, out: Path, sizes: dict[str, int]) -> None:
    """Write the label tables: teacher and students hear different talkers, chosen by a hash of their names.

    The students' table holds no PESQ, STOI or SDI where they come from a teacher; ``exact.csv`` keeps them.
    """
    records = read_table(data / "manifest.csv", ("path", "split", "speaker", *MOS, *PSEUDO))
    for record in records:
        record["path"] = str((data / record["path"]).resolve())
    records.sort(key=lambda record: hashlib.sha256(Path(record["path"]).name.encode()).digest())
    train = [record for record in records if record["split"] == "train"]
    teacher = [record for record in train if is_teachers(record["speaker"])]
    student = [record for record in train if not is_teachers(record["speaker"])]
    held = []
    for split in ("val", "test"):
        held += [record for record in records if record["split"] == split][: sizes[split]]
    columns = ["path", "split", "speaker", "kind", *MOS, *PSEUDO]
    for share in sorted({arm.share for _, arms in STUDIES.values() for arm in arms}):
        part = student[: round(share * sizes["student"])]
        write_once(out / f"exact-{100 * share:g}.csv", columns, part + held)
    write_once(out / "teacher.csv", columns, teacher[: sizes["teacher"]] + held)


def is_teachers(speaker: str) -> bool:
    """Give two thirds of the talkers to the teacher."""
    return hashlib.sha256(speaker.encode()).digest()[0] % 3 < 2


def write_once(table: Path, columns: list[str], records: list[dict[str, str]]) -> None:
    """Write a table unless it is there: a changed one would make finished runs worthless."""
    if not table.exists():
        write_table(table, columns, records)


def run_arm(arm: Arm, seed: int, out: Path, scale: Scale, *, patient: bool) -> None:
    """Train an arm with one seed, its teacher first where it needs one; a patient one waits for other processes."""
    settings = {**scale["train"], **arm.settings, "seed": seed, "recipe": arm.recipe}
    settings["network"] = scale["networks"][arm.settings.get("network", "mtqnet")]
    if arm.recipe == "scratch":
        settings |= {"targets": list(MOS), "teacher": "none"}
    elif arm.exact:
        settings["teacher"] = "table"
    else:
        settings["teacher"] = str(teacher(seed, out, scale))
    settings["epochs"] = round(settings["epochs"] / arm.share)
    table = out / f"exact-{100 * arm.share:g}.csv"
    if not arm.singles:
        train(table, out / "runs" / f"{arm.name}-{seed}", settings, patient=patient)
        return
    for target in MOS:
        folder = out / "runs" / f"{arm.name}-{target}-{seed}"
        train(table, folder, settings | {"targets": [target]}, patient=patient)


def teacher(seed: int, out: Path, scale: Scale) -> Path:
    """Train the MOSA-Net of a seed: PESQ, STOI and SDI only."""
    settings = {**scale["train"], **scale["teacher"], "seed": seed, "recipe": "mpl", "teacher": "table"}
    settings |= {"targets": list(PSEUDO), "network": scale["networks"]["mtqnet"]}
    folder = out / "runs" / f"teacher-{seed}"
    train(out / "teacher.csv", folder, settings, patient=True)
    return folder


def train(table: Path, folder: Path, settings: dict[str, Any], *, patient: bool) -> None:
    """Call ``mtqscore train`` unless the run is complete: it is, when it holds estimates of the test split."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "settings.toml").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError:
            return
        if (folder / "predictions_test.csv").exists():
            return
        print(f"{folder.name} …", file=sys.stderr, flush=True)
        file.truncate(0)
        file.write("".join(f"{key} = {toml(value)}\n" for key, value in settings.items()))
        file.flush()
        command = [sys.executable, "-m", "mtqscore", "train", "--data", str(table), "--config", file.name]
        done = subprocess.run([*command, "--out", str(folder)], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{folder}: {done.stderr.strip()[-2000:]}")
        (folder / "last.safetensors").unlink()


def toml(value: object) -> str:
    """Write a plain value as TOML; JSON and TOML agree on all but tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


if __name__ == "__main__":
    main()
