"""TMHINT-QI and TMHINT-QI(S) in miniature: the layout, names and traps of the published zips, synthetic sound."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000
TRAIN_SENTENCES = ("21_01", "21_02", "22_05", "22_06", "23_10", "24_03", "30_01", "30_02", "31_07", "32_09")
TEST_SENTENCE = "25_04"
WITH_CLEAN = ("21_01", "22_06", "30_01")
CONDITIONS = (("Noisy", -2, "white"), ("FCN", -2, "white"), ("KLT", 5, "street"), ("DDAE", 2, "pink"))
"""Without Noisy twins for KLT and DDAE, as for half of the published recordings."""

RATING_COLUMNS = ("idx", "method", "uttr", "snr", "noise", "quality_score", "intelligibility_score", "file_name")


def sentence(speaker: str, number: str, seconds: float = 1.3) -> NDArray[np.float64]:
    """Syllables of a voice: harmonics that come and go, float64 (samples,)."""
    seed = int(number.replace("_", "")) + (1 if speaker == "g4" else 0)
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = (120 if speaker.startswith("b") else 210) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    voice = sum(
        np.sin(order * phase + rng.uniform(0, 6)) / order for order in range(1, 30 if speaker[0] == "g" else 55)
    )
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2.5, 4) * time_s + rng.uniform(0, 6)) + 0.2, 0, 1)
    return np.asarray(0.05 * voice * syllables + 1e-5 * rng.standard_normal(len(time_s)))


def noisy(clean: NDArray[np.float64], snr_db: float, seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    return np.asarray(clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20))


def write(path: Path, samples: NDArray[np.float64], rate_hz: int = RATE_HZ) -> None:
    """As the published recordings: WAV with 32-bit floating-point samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.astype(np.float32), rate_hz, subtype="FLOAT")


def write_tmhint_qi(folder: Path) -> Path:
    """Write the unpacked zip under a folder, with 93 recordings in train and 9 in test; return ``TMHINTQI``."""
    root = folder / "TMHINTQI"
    ratings: list[list[object]] = []

    def rate(stem: str, method: str, text: str, condition: tuple[object, object], *scores: object) -> None:
        snr, noise = condition
        ratings.extend([f"s{at}", method, text, snr, noise, score, 9, stem] for at, score in enumerate(scores))

    for split, sentences in (("train", TRAIN_SENTENCES), ("test", (TEST_SENTENCE,))):
        for speaker in ("b2", "g4"):
            for number in sentences:
                clean = sentence(speaker, number)
                if number in (*WITH_CLEAN, TEST_SENTENCE) and speaker == "b2":
                    write(root / split / f"clean_TMHINT_{speaker}_{number}.wav", clean)
                    rate(f"clean_TMHINT_{speaker}_{number}", "clean", number, ("", ""), 5, 4)
                for at, (method, snr, noise) in enumerate(CONDITIONS):
                    stem = f"{method}_snr{snr}_{noise}_TMHINT_{speaker}_{number}"
                    mixed = noisy(clean, snr, len(stem) if method in ("Noisy", "FCN") else at)
                    samples = mixed if method == "Noisy" else clean + 0.3 * (mixed - clean)
                    write(root / split / f"{stem}.wav", samples)
                    rate(stem, method, number, (snr, noise), 2 + at % 3, 3)
    for speaker in ("b1", "g3"):
        for item in range(1, 6):
            stem = f"TMHINT_{speaker}_03_{item:02}"
            write(root / "train" / f"{stem}.wav", sentence(speaker, f"03_{item:02}"))
            rate(stem, "None", f"03_{item:02}", ("", ""), 5)
    # One of the four that are known to have an empty cell, and a listener who left one out.
    rate("FCN_snr0_street_TMHINT_b2_22_03", "FCN", "22_03", (0, "street"), "")
    rate("Noisy_snr-2_white_TMHINT_b2_21_01", "Noisy", "21_01", (-2, "white"), "")
    with (root / "raw_data.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(RATING_COLUMNS)
        writer.writerows(ratings)
    apple = folder / "__MACOSX" / "TMHINTQI" / "train"
    apple.mkdir(parents=True)
    (apple / "._clean_TMHINT_b2_21_01.wav").write_bytes(b"\0\5\26\7")
    (root / "train" / "._clean_TMHINT_b2_21_01.wav").write_bytes(b"\0\5\26\7")
    return root


def write_tmhint_qi_s(folder: Path) -> Path:
    """Write the challenge's test under a folder: 6 recordings, 2 of them of the rehearsal; return its folder."""
    root = folder / "VoiceMOS_2023_track3"
    answers = []
    stems = {
        "Noisy_snr-2_white_TMHINT_b2_21_01": 2.5,  # in train of TMHINT-QI too
        "CMGAN_snr5_street_TMHINT_g4_32_03": 4.0,
        "DEMUCS_snr0_babble_TMHINT_b2_25_04": 3.25,
        "clean_TMHINT_g4_27_01": 5.0,
        "TMHINT_b1_03_01": 5.0,
        "TMHINT_g3_03_02": 4.5,
    }
    for at, (stem, score) in enumerate(stems.items()):
        speaker, number = stem.split("_TMHINT_")[-1].removeprefix("TMHINT_").split("_", 1)
        rate_hz = 48_000 if "DEMUCS" in stem else RATE_HZ
        samples = sentence(speaker, number)
        mixed = samples if stem.startswith(("clean", "TMHINT")) else noisy(samples, 3, at)
        write(root / f"VoiceMOS2023Track3-{stem}.wav", mixed, rate_hz)
        answers.append(f"VoiceMOS2023Track3-{stem},{score}\n")
    (root / "answer.csv").write_text("".join(answers), encoding="utf-8")
    return root
