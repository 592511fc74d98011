"""Tables of degradations, and the random chains that are drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtqscore.errors import UsageError
from mtqscore.simulation.degradations.codecs import FORMATS, Codec
from mtqscore.simulation.degradations.colour import BandLimit
from mtqscore.simulation.degradations.dynamics import Clip, GainControl
from mtqscore.simulation.degradations.external import Enhancer
from mtqscore.simulation.degradations.masks import Mask
from mtqscore.simulation.degradations.mnru import Mnru
from mtqscore.simulation.degradations.noises import AddNoise, NoiseSampler
from mtqscore.simulation.degradations.packets import PacketLoss
from mtqscore.simulation.degradations.reverb import Reverb
from mtqscore.simulation.degradations.subspace import Subspace
from mtqscore.simulation.degradations.suppression import Suppress
from mtqscore.simulation.scene import Degradation

Draw = Callable[[np.random.Generator, int], Degradation]

ENHANCERS: dict[str, tuple[Draw, float]] = {
    "suppress": (Suppress.draw, 0.42),
    "mask": (Mask.draw, 0.48),
    "klt": (Subspace.draw, 0.10),
}
"""Noise suppressors by name: how to draw one, and how often."""

DISTORTIONS: dict[str, tuple[Draw, float]] = {
    "mnru": (Mnru.draw, 0.26),
    "codec": (Codec.draw, 0.20),
    "packet_loss": (PacketLoss.draw, 0.14),
    "reverb": (Reverb.draw, 0.13),
    "clip": (Clip.draw, 0.10),
    "band_limit": (BandLimit.draw, 0.07),
    "mask": (Mask.draw, 0.06),
    "gain_control": (GainControl.draw, 0.04),
}
"""Distortions of the speech itself by name: how to draw one, and how often."""

CHAINS: dict[str, float] = {
    "clean": 0.05,
    "noise": 0.17,
    "distortion": 0.22,
    "mnru_noise": 0.13,
    "noise_distortion": 0.10,
    "enhanced": 0.21,
    "enhanced_distortion": 0.05,
    "mixed": 0.07,
}
"""Kinds of chain by name, and how often each is drawn."""


@dataclass(frozen=True)
class Chain:
    """Kind of a chain of degradations, and its steps in order."""

    kind: str
    steps: tuple[Degradation, ...]


def _pick(table: dict[str, tuple[Draw, float]], rng: np.random.Generator) -> Draw:
    names = list(table)
    chances = np.array([table[name][1] for name in names])
    return table[str(rng.choice(names, p=chances / chances.sum()))][0]


def draw_chain(
    rng: np.random.Generator,
    sampler: NoiseSampler,
    rate_hz: int,
    *,
    commands: tuple[str, ...] = (),
    command_share: float = 0.5,
    hold_out: tuple[str, ...] = (),
) -> Chain:
    """Draw a chain; a new one for as long as it holds what is held out.

    Args:
        rng: the source of everything random.
        sampler: where noise comes from.
        rate_hz: 8000 for narrowband, else 16000.
        commands: external enhancers, used besides the built-in ones.
        command_share: share of enhanced recordings that go through an external command, when there is one.
        hold_out: names of enhancers, distortions and codecs that must not occur.
    """
    while True:  # chains of nothing but noise are always left
        chain = _draw(rng, sampler, rate_hz, commands, command_share)
        if not any(names_of(step) & set(hold_out) for step in chain.steps):
            return chain


def names_of(step: Degradation) -> set[str]:
    """List the names that a step is held out by: its own, and that of its codec."""
    return {step.name, step.codec} if isinstance(step, Codec) else {step.name}


def check_hold_out(names: tuple[str, ...]) -> None:
    """Refuse names that nothing has.

    Raises:
        UsageError: with the names that there are.
    """
    known = sorted({*ENHANCERS, *DISTORTIONS, *FORMATS})
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--hold-out {unknown[0]}: choose from {', '.join(known)}")


def _draw(
    rng: np.random.Generator, sampler: NoiseSampler, rate_hz: int, commands: tuple[str, ...], command_share: float
) -> Chain:
    kind = str(rng.choice(list(CHAINS), p=np.array(list(CHAINS.values())) / sum(CHAINS.values())))

    def noise(low_db: float = -5, high_db: float = 45) -> Degradation:
        return AddNoise.draw(rng, sampler, snr_db=(low_db, high_db))

    def distortion() -> Degradation:
        return _pick(DISTORTIONS, rng)(rng, rate_hz)

    def enhancer() -> Degradation:
        if commands and rng.random() < command_share:
            return Enhancer(commands[int(rng.integers(len(commands)))])
        return _pick(ENHANCERS, rng)(rng, rate_hz)

    steps: list[Degradation]
    if kind == "clean":
        steps = []
    elif kind == "noise":
        steps = [noise()]
    elif kind == "distortion":
        steps = [distortion()]
    elif kind == "mnru_noise":
        # The reference conditions of P.835 tests: speech distortion and background noise, apart and together.
        steps = [Mnru.draw(rng, rate_hz), noise(0, 50)]
    elif kind == "noise_distortion":
        steps = [noise(5, 45), distortion()]
    elif kind == "enhanced":
        steps = [noise(-5, 25), enhancer()]
    elif kind == "enhanced_distortion":
        steps = [noise(0, 30), enhancer(), distortion()]
    else:
        steps = [distortion(), noise(5, 45), *(distortion() for _ in range(int(rng.integers(1, 3))))]
    if rate_hz <= 8000 and rng.random() < 0.5 and not any(isinstance(step, BandLimit) for step in steps):
        steps.append(BandLimit.draw(rng, rate_hz))  # the telephone channel comes last
    return Chain(kind, tuple(steps))
