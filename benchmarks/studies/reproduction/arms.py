"""Arms of each table, each one setting apart from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MOS = ("s_mos", "n_mos", "g_mos")
PSEUDO = ("pesq", "stoi", "sdi")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Args:
        name: folder of its runs, and of its teacher's.
        meaning: what the table calls it.
        recipe: ``scratch``, ``kt`` or ``mpl``.
        settings: what differs from the scale's settings.
        exact: MPL with the exact PESQ, STOI and SDI of the simulation in place of a teacher's.
        share: of the training recordings; the number of steps stays the same.
        singles: three networks, one a target, in place of one.
    """

    name: str
    meaning: str
    recipe: str = "mpl"
    settings: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    share: float = 1.0
    singles: bool = False


MPL = Arm("mpl", "MPL: six tasks, Huber δ = 1, α = 1")
SCRATCH = Arm("scratch", "From scratch: S, N, G only", "scratch")


def _delta(value: float) -> Arm:
    return Arm(f"delta-{value:g}", f"δ = {value:g}", settings={"delta": {"default": value}})


def _alpha(value: float) -> Arm:
    return Arm(f"alpha-{value:g}", f"α = {value:g}", settings={"alpha": {"default": value}})


def _without(target: str, meaning: str) -> Arm:
    targets = [name for name in MOS + PSEUDO if name != target]
    return Arm(f"without-{target}", f"without {meaning}", settings={"targets": targets})


def _network(name: str) -> dict[str, Any]:
    # Small front ends take longer in bfloat16 than in float32 on a processor.
    return {"network": name, "precision": "float32"}


def _size(share: float) -> list[Arm]:
    percent = f"{100 * share:g}"
    return [
        Arm(f"scratch-{percent}", f"{percent} %, from scratch", "scratch", share=share),
        Arm(f"mpl-{percent}", f"{percent} %, MPL", share=share),
    ]


STUDIES: dict[str, tuple[str, list[Arm]]] = {
    "table1": (
        "Where knowledge comes from (Table 1)",
        [
            SCRATCH,
            Arm("kt", "KT: started from MOSA-Net, S, N, G only", "kt"),
            MPL,
            Arm("mpl-exact", "MPL with exact PESQ, STOI, SDI", exact=True),
        ],
    ),
    "table2": (
        "The loss (Table 2)",
        [
            Arm("mse", "MSE", settings={"loss": "mse"}),
            Arm("mae", "MAE", settings={"loss": "mae"}),
            Arm("mpl", "Huber, δ = 1"),
        ],
    ),
    "figure2": (
        "The threshold of the Huber loss (Figure 2)",
        [_delta(0.25), _delta(0.5), _delta(0.75), Arm("mpl", "δ = 1"), _delta(1.25), _delta(2.0)],
    ),
    "table3": (
        "Single-task MOS-SSL against MTQ-Net (Table 3)",
        [
            Arm("mos-ssl", "MOS-SSL, three networks", "scratch", settings=_network("mos-ssl"), singles=True),
            Arm("mpl-ssl", "MTQ-Net: PS and the same front end", settings=_network("mtqnet-ssl")),
            Arm("mpl-lfb", "MTQ-Net: PS and LFB", settings=_network("mtqnet-lfb")),
            Arm("mpl", "MTQ-Net: as in the other tables"),
        ],
    ),
    "alpha": (
        "The weight of the frame loss",
        [_alpha(0.0), _alpha(0.3), Arm("mpl", "α = 1"), _alpha(3.0)],
    ),
    "pseudo-labels": (
        "Each pseudo-label left out",
        [
            MPL,
            _without("pesq", "PESQ"),
            _without("stoi", "STOI"),
            _without("sdi", "SDI"),
            Arm("scratch", "without all three (from scratch)", "scratch"),
        ],
    ),
    "size": (
        "The size of the training set",
        [*_size(0.1), *_size(0.3), Arm("scratch", "100 %, from scratch", "scratch"), Arm("mpl", "100 %, MPL")],
    ),
}
"""Title and arms by the name that the command takes. Arms of one name are one run, used in several tables."""
