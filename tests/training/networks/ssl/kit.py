"""Small front ends with weights that hide no mistake, and their input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtqscore.targets import TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import NetworkConfig, SslConfig
from mtqscore.training.networks import Network, build
from mtqscore.training.networks.ssl.front_end import SslFrontEnd

LENGTHS = torch.tensor([9_000, 333, 5_123])
TINY = SslConfig(model="custom")


def waveforms(seed: int = 0) -> Tensor:
    """Noise with an offset; what lies beyond each length is loud, and must not count."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max()), generator=generator) + 0.03


def front_end(seed: int = 0, **changes: Any) -> SslFrontEnd:
    torch.manual_seed(seed)
    made = SslFrontEnd(replace(TINY, **changes))
    # Fresh models have every normalisation and gate at its start, where mistakes could hide.
    with torch.no_grad():
        for parameter in made.pretrained_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made.eval()


def network(config: NetworkConfig, targets: tuple[str, ...] = tuple(target.name for target in TARGETS)) -> Network:
    torch.manual_seed(1)
    made = build(TrainConfig(network=config, targets=targets))
    made.front_end().load_pretrained()
    return made


def weights_file(path: Path, **changes: Any) -> Path:
    """Save the weights of a random front end as torchaudio's files hold them."""
    torch.save(front_end(tune=True, **changes).body.state_dict(), path)
    return path
