"""Every network that can be trained, by the kind of its configuration."""

from __future__ import annotations

from mtqscore.errors import UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, MosSslConfig
from mtqscore.training.networks.base import Estimates, Network
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.mos_ssl import MosSslNet
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.xls_r_sqa import XlsRSqaNet

__all__ = ["Estimates", "Network", "build"]


def build(config: TrainConfig) -> Network:
    """Make the network of a run with fresh weights.

    A front end gets its pretrained weights by its own `load_pretrained`, where no checkpoint brings them.

    Args:
        config: the run's settings; ``config.network`` says which network, ``config.targets`` which heads.

    Raises:
        UsageError: there is no such target, or there is none at all, or the front end has no such hidden state.
    """
    known = {target.name for target in TARGETS}
    if not config.targets or set(config.targets) - known:
        raise UsageError(f"targets {', '.join(config.targets) or '(none)'}: choose from {', '.join(sorted(known))}")
    targets = tuple(target for target in TARGETS if target.name in config.targets)
    network = config.network
    if isinstance(network, CompactConfig):
        return CompactNet(network, targets)
    if isinstance(network, MosaNetConfig):
        return MosaNet(network, targets)
    if isinstance(network, MosSslConfig):
        return MosSslNet(network, targets)
    return XlsRSqaNet(network, targets)
