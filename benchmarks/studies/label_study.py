"""Agreement of reference-based labels with listeners, and the share of each part of the method.

Needs the P.835 reference conditions of github.com/microsoft/P.808 (NOIZEUS recordings: white noise at an SNR,
multiplicative noise at an MNRU Q, apart and together) as a table with the columns path, snr_db, mnru_q_db, s_mos,
n_mos, g_mos; the ratings are means per condition. The recording of each talker at 40 dB SNR and 40 dB Q is the
clean reference; noise is added anew to the others' distorted speech, so that speech and noise part are known.

    python benchmarks/studies/label_study.py PATH/noizeus.csv
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal as dsp

from mtqscore.audio.levels import Signal, level_db
from mtqscore.labels.mapping import NARROWBAND, Mapping, noise_ratio_db, scores_from_measures
from mtqscore.labels.measures import raw_pesq

RATE_HZ = 8_000
CLEAN = (40.0, 40.0)
Condition = tuple[float, float]


@dataclass(frozen=True)
class Measures:
    """Measures of one recording before any mapping."""

    masked_raw: float
    bare_raw: float
    whole_raw: float
    ratio_db: float


def read_table(table: Path) -> tuple[dict[Condition, list[float]], dict[str, dict[Condition, Signal]]]:
    """Return the ratings by condition and the recordings by talker and condition."""
    ratings: dict[Condition, list[float]] = {}
    talkers: dict[str, dict[Condition, Signal]] = defaultdict(dict)
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            condition = float(row["snr_db"]), float(row["mnru_q_db"])
            ratings[condition] = [float(row[name]) for name in ("s_mos", "n_mos", "g_mos")]
            audio, rate_hz = soundfile.read(table.parent / row["path"])
            assert rate_hz == RATE_HZ
            talkers[Path(row["path"]).name.split("_")[0]][condition] = audio
    return ratings, talkers


def measure(clean: Signal, distorted: Signal, snr_db: float, rng: np.random.Generator) -> Measures:
    """Add the test's band-limited white noise and measure."""
    noise = dsp.sosfilt(dsp.butter(12, 3500, fs=RATE_HZ, output="sos"), rng.standard_normal(len(clean)))
    noise = noise * 10 ** ((level_db(clean) - snr_db - level_db(noise)) / 20)
    values = (
        raw_pesq(clean + noise, distorted + noise, RATE_HZ),
        raw_pesq(clean, distorted, RATE_HZ),
        raw_pesq(clean, distorted + noise, RATE_HZ),
    )
    assert None not in values
    return Measures(
        *values,  # type: ignore[arg-type]  # none of them is None
        noise_ratio_db(distorted, noise, RATE_HZ),
    )


def variant(raw: Callable[[Measures], float], mapping: Mapping) -> Callable[[Measures], tuple[float, float, float]]:
    """Return the scores that follow from one choice of raw value and mapping."""
    return lambda item: scores_from_measures(raw(item), item.ratio_db, 0.0, mapping)


VARIANTS: dict[str, Callable[[Measures], tuple[float, float, float]]] = {
    "all parts": variant(lambda item: item.masked_raw, NARROWBAND),
    "distortion judged without the noise that masks it": variant(lambda item: item.bare_raw, NARROWBAND),
    "noise does not lower S": variant(lambda item: item.masked_raw, replace(NARROWBAND, noise_on_s=0.0)),
    "distortion does not lower N": variant(
        lambda item: item.masked_raw, replace(NARROWBAND, distortion_on_n=(0.0, 0.0))
    ),
    "the worse of S and N weighs no more in G": variant(
        lambda item: item.masked_raw, replace(NARROWBAND, g_weights=(-0.19, 0.58, 0.44, 0.0))
    ),
    "P.862 of the whole recording as S": variant(lambda item: item.whole_raw, NARROWBAND),
}


def main() -> None:
    """Print the table of conditions and the table of variants as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    ratings, talkers = read_table(parser.parse_args().table)
    measures: dict[Condition, list[Measures]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for recordings in talkers.values():
        clean = recordings[CLEAN]
        for snr_db, q_db in ratings:
            measures[snr_db, q_db].append(measure(clean, recordings[40.0, q_db], snr_db, rng))

    conditions = sorted(ratings)
    truth = np.array([ratings[condition] for condition in conditions])
    print("| SNR dB | MNRU Q dB | S listeners | S label | N listeners | N label | G listeners | G label |")
    print("|---|---|---|---|---|---|---|---|")
    for name, scores in VARIANTS.items():
        estimate = np.array([np.mean([scores(item) for item in measures[c]], axis=0) for c in conditions])
        if name == "all parts":
            for (snr_db, q_db), human, label in zip(conditions, truth, estimate, strict=True):
                cells = " | ".join(f"{h:.2f} | {v:.2f}" for h, v in zip(human, label, strict=True))
                print(f"| {snr_db:.0f} | {q_db:.0f} | {cells} |")
            print("\n| variant | S LCC | S RMSE | N LCC | N RMSE | G LCC | G RMSE |\n|---|---|---|---|---|---|---|")
        cells = []
        for scale in range(3):
            lcc = np.corrcoef(truth[:, scale], estimate[:, scale])[0, 1]
            rmse = np.sqrt(np.mean((truth[:, scale] - estimate[:, scale]) ** 2))
            cells.append(f"{lcc:.3f} | {rmse:.2f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
