"""Networks that can be trained: waveform in, scores of their targets out."""

from mtqscore.training.networks.base import Estimates, Network
from mtqscore.training.networks.table import NETWORKS, build

__all__ = ["NETWORKS", "Estimates", "Network", "build"]
