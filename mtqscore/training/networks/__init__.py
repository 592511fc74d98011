"""Every network that can be trained, by the kind of its configuration."""

from __future__ import annotations

from mtqscore.config import TrainConfig
from mtqscore.errors import UsageError
from mtqscore.network_config import CompactConfig, MosaNetConfig, MosSslConfig, NetworkConfig
from mtqscore.spec import TARGETS, Target
from mtqscore.training.networks.base import Estimates, Network
from mtqscore.training.networks.compact import CompactNet
from mtqscore.training.networks.mos_ssl import MosSslNet
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.xls_r_sqa import XlsRSqaNet

__all__ = ["Estimates", "Network", "build"]


def build(config: TrainConfig, pretrained: bool = True) -> Network:
    """Make the network of a run with fresh weights, those of its front end excepted.

    Args:
        config: the run's settings; ``config.network`` says which network, ``config.targets`` which heads.
        pretrained: put pretrained weights into a front end that a checkpoint would bring (one that is tuned) too;
            without, the network must get its weights from a checkpoint before it is used.

    Raises:
        UsageError: there is no such target, or there is none at all.
        InputError: the checkpoint of the front end is missing or that of another model.
        EnvironmentProblemError: the weights of the front end cannot be fetched.
    """
    known = {target.name for target in TARGETS}
    if not config.targets or set(config.targets) - known:
        raise UsageError(f"targets {', '.join(config.targets) or '(none)'}: choose from {', '.join(sorted(known))}")
    targets = tuple(target for target in TARGETS if target.name in config.targets)
    network = _fresh(config.network, targets)
    front_end = network.front_end()
    if front_end is not None and (pretrained or not front_end.kept):
        front_end.load_pretrained()
    return network


def _fresh(config: NetworkConfig, targets: tuple[Target, ...]) -> Network:
    if isinstance(config, CompactConfig):
        return CompactNet(config, targets)
    if isinstance(config, MosaNetConfig):
        return MosaNet(config, targets)
    if isinstance(config, MosSslConfig):
        return MosSslNet(config, targets)
    return XlsRSqaNet(config, targets)
