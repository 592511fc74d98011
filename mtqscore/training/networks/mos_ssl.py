"""MOS-SSL (Cooper et al., ICASSP 2022, arXiv 2110.02635): a tuned front end, mean pooling, one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from mtqscore.targets import TARGETS, Target
from mtqscore.training.network_config import MosSslConfig
from mtqscore.training.networks.base import Estimates, SslNetwork, pool
from mtqscore.training.networks.masking import frame_mask


class MosSslNet(SslNetwork):
    """Waveform in, the mean embedding through a linear layer out; no activation, in the target's own unit.

    Published with one target a model, and with two in InQSS (arXiv 2111.02585); here each target has its linear layer.
    A mean and a linear layer commute, so the layer of every frame gives the frame scores, and the utterance score is
    their mean. Unlike in the published code, the mean does not run over padding, and scores start from the middle of
    their scale, not from 0.

    Args:
        config: the front end.
        targets: the tasks in the order of the output.
    """

    def __init__(self, config: MosSslConfig, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__(config.ssl, targets)
        self.config = config
        self.heads = nn.ModuleDict()
        for target in targets:
            head = nn.Linear(self.ssl.width, 1)
            nn.init.constant_(head.bias, (target.low + target.high) / 2)
            self.heads[target.name] = head

    def forward(self, waveform: Tensor, lengths: Tensor, recolour: Tensor | None = None) -> Estimates:  # noqa: ARG002
        """Score a padded batch; of an item with n samples the first floor((n - 400) / 320) + 1 frames are its own."""
        x, counts = self.ssl(waveform, lengths)
        scores = [head(x).squeeze(2).float() for head in self.heads.values()]
        return pool(scores, frame_mask(counts, x.shape[1]))
