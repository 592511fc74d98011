"""Degradations: each does what its parameters say, and speech and noise stay exactly apart."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtqscore.audio.levels import FRAME_S, Signal, active_frames, active_level_db, level_db
from mtqscore.errors import EnvironmentProblemError, UsageError
from mtqscore.labels.alignment import shifted
from mtqscore.labels.filters import a_weighting
from mtqscore.labels.mapping import label_parts
from mtqscore.labels.separation import split_black_box
from mtqscore.simulation.degradations.codecs import FORMATS, Codec
from mtqscore.simulation.degradations.colour import SEND_FILTERS, BandLimit, Recolour
from mtqscore.simulation.degradations.dynamics import Clip, GainControl
from mtqscore.simulation.degradations.external import Enhancer, check_command
from mtqscore.simulation.degradations.masks import Mask
from mtqscore.simulation.degradations.mnru import Mnru
from mtqscore.simulation.degradations.noises import KINDS, AddNoise
from mtqscore.simulation.degradations.packets import PacketLoss
from mtqscore.simulation.degradations.reverb import Reverb
from mtqscore.simulation.degradations.subspace import Subspace
from mtqscore.simulation.degradations.suppression import RULES, Suppress
from mtqscore.simulation.recipe import CHAINS, DISTORTIONS, ENHANCERS, Chain, check_hold_out, draw_chain, names_of
from mtqscore.simulation.scene import Degradation, Scene, describe, start_scene
from mtqscore.simulation.voices import gated, vary

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE_HZ = 16_000


class MadeNoise:
    """Stands in for a folder of noise and for other talkers."""

    def noise(self, rng: np.random.Generator, samples: int, rate_hz: int, speed: float) -> tuple[Signal, str]:
        return np.cumsum(rng.standard_normal(samples)) % 1.0 - 0.5 + 0 * rate_hz * speed, "made"

    def babble(self, rng: np.random.Generator, samples: int, rate_hz: int, talkers: int) -> Signal:
        return rng.standard_normal(samples) * talkers + 0 * rate_hz


@pytest.fixture(scope="module")
def speech() -> Signal:
    audio, rate_hz = soundfile.read(EXAMPLES / "clean.flac")
    assert rate_hz == RATE_HZ
    return np.asarray(audio, dtype=np.float64)


@pytest.fixture
def scene(speech: Signal) -> Scene:
    return start_scene(speech, RATE_HZ)


def noisy(scene: Scene, snr_db: float = 10.0, kind: str = "white") -> Scene:
    return AddNoise(kind, snr_db, sampler=MadeNoise()).apply(scene, np.random.default_rng(3))


def scores(scene: Scene) -> tuple[float, float, float]:
    labels = label_parts(scene.clean, scene.speech, scene.noise, scene.rate_hz, raw_noise=scene.raw_noise)
    assert labels is not None
    return labels.s_mos, labels.n_mos, labels.g_mos


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_added_at_the_ratio_asked_for(scene: Scene, kind: str) -> None:
    done = noisy(scene, 7.0, kind)
    assert active_level_db(done.speech, RATE_HZ) - level_db(done.noise) == pytest.approx(7.0, abs=0.01)
    assert np.array_equal(done.speech, scene.speech)
    assert len(done.noise_names) == 1


@pytest.mark.parametrize(("q_db", "rate_hz"), [(5.0, RATE_HZ), (20.0, RATE_HZ), (35.0, RATE_HZ), (10.0, 48_000)])
def test_mnru_noise_lies_q_below_the_signal_and_a_third_of_it_in_band_at_48_khz(
    scene: Scene, q_db: float, rate_hz: int
) -> None:
    error = Mnru(q_db, rate_hz).apply(scene, np.random.default_rng(0)).mix - scene.mix
    expected_db = q_db + 10 * np.log10(rate_hz / RATE_HZ)
    assert level_db(scene.mix) - level_db(error) == pytest.approx(expected_db, abs=0.3 if rate_hz == RATE_HZ else 0.7)


ESTIMATORS: list[Degradation] = [
    *(Suppress(rule, 0.5, 2.0, -20.0, 0.9, 2.0, 0.032) for rule in RULES),
    Subspace(48, 2.0, 0.0),
    Mask(1.0, 1.0, 1.0, 1.0, 0.0, 1.0, -30.0, 0.1, 8000.0, 0.3),
]
CHANNELS: list[Degradation] = [
    Clip(0.02, soft=False),
    Clip(0.02, soft=True),
    GainControl(0.02, 0.3, 0.6),
    PacketLoss(0.1, 2.0, 0.02, "none"),
    PacketLoss(0.1, 2.0, 0.02, "repeat"),
    PacketLoss(0.1, 2.0, 0.02, "fade"),
    Mnru(15.0, RATE_HZ),
    Mnru(15.0, 48_000),
    BandLimit(0.0, 5000.0, 8, reference_too=False),
]


@pytest.mark.parametrize("step", CHANNELS, ids=lambda step: step.name)
def test_the_parts_add_up_to_what_the_whole_recording_becomes(scene: Scene, step: Degradation) -> None:
    start = noisy(scene)
    done = step.apply(start, np.random.default_rng(5))
    undivided = replace(start, speech=start.mix, noise=np.zeros_like(start.noise))
    whole = step.apply(undivided, np.random.default_rng(5))
    assert level_db(done.mix - whole.mix) < level_db(whole.mix) - 100
    assert level_db(done.mix - start.mix) > level_db(start.mix) - 60, "it did nothing"


@pytest.mark.parametrize("step", ESTIMATORS, ids=lambda step: f"{step.name}-{getattr(step, 'rule', '')}")
def test_suppressed_speech_is_still_speech_and_suppressed_noise_still_noise(scene: Scene, step: Degradation) -> None:
    done = step.apply(noisy(scene), np.random.default_rng(5))
    assert len(done.speech) == len(done.noise) == len(scene.speech)
    assert np.corrcoef(done.speech, scene.speech)[0, 1] > 0.6
    assert abs(np.corrcoef(done.noise, scene.speech)[0, 1]) < 0.2


SUPPRESSORS = [*(Suppress(rule, 0.5, 0.0, -25.0, 0.96, 1.5, 0.032) for rule in RULES), Subspace(48, 3.0, 0.0)]


@pytest.mark.parametrize("step", SUPPRESSORS, ids=[*RULES, "klt"])
def test_suppressors_trade_noise_for_distortion(scene: Scene, step: Degradation) -> None:
    start = noisy(scene, 10.0)
    done = step.apply(start, np.random.default_rng(0))
    ratio_before = level_db(start.speech) - level_db(start.noise)
    assert level_db(done.speech) - level_db(done.noise) > ratio_before + 3
    assert scores(done)[1] > scores(start)[1]


def test_a_perfect_mask_is_better_than_a_spoiled_one(scene: Scene) -> None:
    start = noisy(scene, 5.0)
    rng = np.random.default_rng(0)
    good = Mask(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -40.0, 0.0, 8000.0, 0.0).apply(start, rng)
    bad = Mask(2.0, 3.0, 3.0, 2.0, 0.0, 1.0, -40.0, 0.2, 8000.0, 1.0).apply(start, rng)
    assert scores(good)[0] > scores(bad)[0] + 0.8
    assert scores(good)[2] > scores(start)[2] + 0.4


@pytest.mark.parametrize(
    ("codec", "rate_hz"), [(name, rate_hz) for name, form in FORMATS.items() for rate_hz in form.rates_hz]
)
def test_every_codec_codes_at_every_rate_it_claims(scene: Scene, codec: str, rate_hz: int) -> None:
    start = scene.at_rate(rate_hz)
    done = Codec(codec, 0.5, 1, -26.0).apply(start, np.random.default_rng(0))
    assert len(done.speech) == len(start.speech)
    correlation = np.corrcoef(done.mix, start.mix)[0, 1]
    assert 0.8 < correlation < 1.0 - 1e-9
    assert done.rest_db < -10


def test_more_compression_sounds_worse(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    fine, coarse = (Codec("mp3", level, 1, -26.0).apply(scene, rng) for level in (0.1, 0.99))
    assert scores(fine)[0] > scores(coarse)[0] + 0.5


def test_packet_loss_loses_about_what_it_says(scene: Scene) -> None:
    lost = []
    for seed in range(20):
        done = PacketLoss(0.2, 2.0, 0.02, "none").apply(scene, np.random.default_rng(seed))
        lost.append(float(np.mean((done.speech == 0) & (scene.speech != 0))))
    assert np.mean(lost) == pytest.approx(0.2, abs=0.05)


def test_concealment_helps(scene: Scene) -> None:
    rng_seed = 4
    gaps = PacketLoss(0.08, 1.2, 0.02, "none").apply(scene, np.random.default_rng(rng_seed))
    filled = PacketLoss(0.08, 1.2, 0.02, "repeat").apply(scene, np.random.default_rng(rng_seed))
    assert level_db(filled.speech) > level_db(gaps.speech)
    assert (gaps.speech == 0).mean() > (filled.speech == 0).mean()


def test_reverberation_has_the_decay_it_says() -> None:
    response = Reverb(0.5, 0.0, 0.002).response(np.random.default_rng(0), RATE_HZ)
    tail = response[int(0.05 * RATE_HZ) :] ** 2
    decay = 10 * np.log10(np.cumsum(tail[::-1])[::-1] + 1e-20)
    fall = decay[0] - decay[int(0.2 * RATE_HZ)]
    assert fall == pytest.approx(60 * 0.2 / 0.5, abs=4)
    assert np.sum(response[1:] ** 2) == pytest.approx(1.0, rel=1e-6)


def test_reverberation_touches_the_speech_alone(scene: Scene) -> None:
    start = noisy(scene)
    done = Reverb(0.6, 0.0, 0.002).apply(start, np.random.default_rng(0))
    assert np.array_equal(done.noise, start.noise)
    assert np.array_equal(done.clean, start.clean)
    assert scores(done)[0] < scores(start)[0]


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_clipping_clips_the_share_it_says(scene: Scene, share: float) -> None:
    done = Clip(share, soft=False).apply(scene, np.random.default_rng(0))
    top = np.abs(done.mix).max()
    assert np.mean(np.abs(done.mix) >= top * 0.9999) == pytest.approx(share, rel=0.2)


def test_recolouring_is_the_reference_and_costs_nothing(scene: Scene) -> None:
    for seed in range(5):
        done = Recolour.draw(np.random.default_rng(seed), RATE_HZ).apply(scene, np.random.default_rng(0))
        assert np.array_equal(done.clean, done.speech)
        assert scores(done)[2] > 4.5


@pytest.mark.parametrize("name", SEND_FILTERS)
def test_send_filters_are_tables_of_rising_frequencies(name: str) -> None:
    frequency_hz, gain_db = SEND_FILTERS[name]
    assert len(frequency_hz) == len(gain_db)
    assert all(low < high for low, high in pairwise(frequency_hz))


def test_a_wrapped_command_is_an_enhancer(scene: Scene, tmp_path: Path) -> None:
    script = tmp_path / "half delay.py"
    script.write_text(
        "import sys, soundfile, numpy\n"
        "x, r = soundfile.read(sys.argv[1])\n"
        "soundfile.write(sys.argv[2], numpy.concatenate([numpy.zeros(320), 0.5 * x]), r)\n"
    )
    start = noisy(scene, 15.0)
    done = Enhancer(f"{sys.executable} '{script}' {{in}} {{out}}").apply(start, np.random.default_rng(0))
    assert scores(done) == pytest.approx(scores(start), abs=0.1), "delay and gain are undone"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/no/such/enhancer {in} {out}", "does not start"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"out of tune\")' {{in}} {{out}}", "out of tune"),
        ("true {in} {out}", "no readable audio"),
    ],
)
def test_an_enhancer_that_fails_or_names_no_files_is_refused(scene: Scene, command: str, message: str) -> None:
    with pytest.raises(EnvironmentProblemError, match=message):
        Enhancer(command).apply(scene, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"\{in\} and \{out\}"):
        check_command("denoise {in}")


def test_every_kind_of_chain_can_be_drawn_and_applied(scene: Scene) -> None:
    drawn: set[str] = set()
    names: set[str] = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rate_hz = 8000 if seed % 3 == 0 else RATE_HZ
        chain = draw_chain(rng, MadeNoise(), rate_hz)
        drawn.add(chain.kind)
        done = scene.at_rate(rate_hz)
        for step in chain.steps:
            done = step.apply(done, rng)
            names.add(step.name)
            assert describe(step)["name"] == step.name
        assert np.isfinite(done.mix).all()
        assert len(done.speech) == len(done.noise)
    assert drawn == set(CHAINS)
    assert names >= (set(DISTORTIONS) | set(ENHANCERS) | {"noise"}) - {"gain_control"}


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.0), (0.5, 0.3, 0.7), (1.0, 1.0, 1.0)])
def test_a_share_of_what_is_enhanced_goes_through_the_commands(share: float, least: float, most: float) -> None:
    commands = ("one {in} {out}", "two {in} {out}")
    met: list[str] = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        chain = draw_chain(rng, MadeNoise(), RATE_HZ, commands=commands, command_share=share)
        if chain.kind in ("enhanced", "enhanced_distortion"):
            met += [step.command if isinstance(step, Enhancer) else "" for step in chain.steps[1:2]]
    assert len(met) > 60
    assert least <= 1 - met.count("") / len(met) <= most
    assert set(met) - {""} == (set(commands) if share else set())


def test_whatever_is_named_can_be_held_out_and_other_chains_stay_as_they_are() -> None:
    known = {*ENHANCERS, *DISTORTIONS, *FORMATS}
    met: set[str] = set()

    def drawn(seed: int, *hold_out: str) -> Chain:
        check_hold_out(hold_out)
        return draw_chain(np.random.default_rng(seed), recordings, (8_000, 16_000)[seed % 2], hold_out=hold_out)

    recordings = MadeNoise()
    for seed in range(600):
        chain = drawn(seed)
        names = set().union(*map(names_of, chain.steps)) & known
        for name in names:
            assert name not in set().union(*map(names_of, drawn(seed, name).steps))
        assert drawn(seed, *(known - names)) == chain
        met |= names
    assert met == known


def test_black_box_finds_the_parts_of_an_untouched_recording(scene: Scene) -> None:
    start = noisy(scene, 5.0)
    split = split_black_box(start.speech, start.noise, start.mix, RATE_HZ)
    assert level_db(split.speech - start.speech) < level_db(start.speech) - 60
    assert split.rest_db < -60


@pytest.mark.parametrize("step", ESTIMATORS[:4], ids=lambda step: step.name)
def test_black_box_agrees_with_the_exact_split(scene: Scene, step: Degradation) -> None:
    start = noisy(scene, 10.0)
    exact = step.apply(start, np.random.default_rng(0))
    split = split_black_box(start.speech, start.noise, exact.mix, RATE_HZ)
    guessed = Scene(RATE_HZ, start.clean, split.speech, split.noise, start.raw_noise)
    assert np.allclose(guessed.mix, exact.mix)
    assert scores(guessed) == pytest.approx(scores(exact), abs=0.45)


@pytest.mark.parametrize("delay", [-700, 0, 37, 1600])
def test_a_delay_is_found(speech: Signal, delay: int) -> None:
    late = np.pad(speech, (delay, 0)) if delay >= 0 else speech[-delay:]
    again, found = shifted(late, speech, RATE_HZ)
    assert found == delay
    inner = slice(1000, len(speech) - 1000)
    assert np.allclose(again[inner], speech[inner])


@pytest.mark.parametrize(("frequency_hz", "gain_db"), [(1000, 0.0), (100, -19.1), (10_000, -2.5), (31.62, -39.4)])
def test_the_a_curve_is_that_of_the_standard(frequency_hz: float, gain_db: float) -> None:
    assert 20 * np.log10(a_weighting(np.array([float(frequency_hz)]))[0]) == pytest.approx(gain_db, abs=0.1)


def test_another_speed_is_another_voice() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(2 * RATE_HZ) / RATE_HZ)
    found = []
    for seed in range(20):
        varied = vary(tone, RATE_HZ, np.random.default_rng(seed))
        found.append(np.argmax(np.abs(np.fft.rfft(varied * np.hanning(len(varied))))) * RATE_HZ / len(varied))
        assert len(varied) == pytest.approx(len(tone) * 200 / found[-1], rel=0.01)
    assert 160 <= min(found) < 180
    assert 220 < max(found) <= 240


def test_a_gate_silences_pauses_and_leaves_speech_alone(speech: Signal) -> None:
    hiss = 10 ** ((active_level_db(speech, RATE_HZ) - 60) / 20) * np.random.default_rng(0).standard_normal(RATE_HZ)
    shut = gated(np.concatenate([speech, hiss]), RATE_HZ, 40, 0.02)
    assert len(shut) == len(speech) + RATE_HZ
    assert level_db(shut[len(speech) + RATE_HZ // 2 :]) == pytest.approx(level_db(hiss) - 40, abs=1)
    active = np.repeat(active_frames(speech, RATE_HZ), int(FRAME_S * RATE_HZ))
    np.testing.assert_array_equal(shut[: len(active)][active], speech[: len(active)][active])
