"""The table of networks, by the class of their configuration."""

from __future__ import annotations

from collections.abc import Callable

from mtqscore.errors import UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import CompactConfig, MosaNetConfig, MosSslConfig, XlsRSqaConfig
from mtqscore.training.networks.base import Network
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.mos_ssl import MosSslNet
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.xls_r_sqa import XlsRSqaNet

NETWORKS: dict[type, Callable[..., Network]] = {
    CompactConfig: CompactNet,
    MosaNetConfig: MosaNet,
    MosSslConfig: MosSslNet,
    XlsRSqaConfig: XlsRSqaNet,
}
"""A new network is a file, a configuration and a line here."""


def build(config: TrainConfig) -> Network:
    """Make the network of a run with fresh weights.

    A front end gets its pretrained weights by its own `load_pretrained`, where no checkpoint brings them.

    Args:
        config: the run's settings: ``config.network`` chooses the network, ``config.targets`` its heads.

    Raises:
        UsageError: there is no such target, or there is none at all, or the front end has no such hidden state.
    """
    known = {target.name for target in TARGETS}
    if not config.targets or set(config.targets) - known:
        raise UsageError(f"targets {', '.join(config.targets) or '(none)'}: choose from {', '.join(sorted(known))}")
    targets = tuple(target for target in TARGETS if target.name in config.targets)
    return NETWORKS[type(config.network)](config.network, targets)
