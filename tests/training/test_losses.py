"""Multi-task loss of utterances and frames."""

from __future__ import annotations

import pytest
import torch

from mtqscore.targets import TARGETS
from mtqscore.training.losses import MplLoss
from mtqscore.training.networks import Estimates
from mtqscore.training.networks.masking import frame_mask
from tests.training_kit import small_config

LABELS = torch.tensor([[3.0, 3.0, 3.0, 2.0, 0.5, 0.75]])


def estimates(scores: torch.Tensor, frame_scores: torch.Tensor, counts: torch.Tensor) -> Estimates:
    return Estimates(scores, frame_scores, frame_mask(counts, frame_scores.shape[1]))


def loss_of(error: float, config=None, frames: int = 4) -> torch.Tensor:
    """The loss of one utterance whose scores are all off by the same share of their scale (in MOS points)."""
    span = torch.tensor([(target.high - target.low) / 4 for target in TARGETS])
    scores = LABELS + error * span
    said = estimates(scores, scores[:, None].expand(-1, frames, -1), torch.tensor([frames]))
    return MplLoss(config or small_config())(said, LABELS).total


@pytest.mark.parametrize(
    ("changes", "error", "value"),
    [
        ({}, 0.5, 0.125),
        ({}, 1.0, 0.5),
        ({}, -1.5, 1.0),
        ({"delta": {"default": 0.5}}, 1.0, 0.375),
        ({"loss": "mse"}, 1.5, 2.25),
        ({"loss": "mae"}, 1.5, 1.5),
    ],
)
def test_losses_of_one_error(changes, error, value):
    """Huber below, at and above delta, which scales it other than smooth L1; the squared error is not halved."""
    # Six tasks on one scale, each with the utterance and the frame term.
    assert float(loss_of(error, small_config(**changes))) == pytest.approx(6 * 2 * value, rel=1e-5)


def test_delta_weights_and_alpha_are_per_task():
    delta, weights = {"default": 1.0, "s_mos": 0.5}, {"n_mos": 3.0}
    config = small_config(alpha=0.25, delta=delta, task_weights=weights, semi_weight=0.1)
    expected = 1.25 * (0.375 + 3.0 * 0.5 + 0.5 + 3 * 0.1 * 0.5)
    assert float(loss_of(1.0, config)) == pytest.approx(expected, rel=1e-5)
    config = small_config(alpha={"default": 0.5, "s_mos": 0.0, "sdi": 2.0})
    assert float(loss_of(1.0, config)) == pytest.approx(0.5 * (1.0 + 4 * 1.5 + 3.0), rel=1e-5)


def test_frame_loss_is_the_mean_over_an_utterances_own_frames():
    labels = LABELS.repeat(2, 1)
    counts = torch.tensor([2, 4])
    frames = labels[:, None].repeat(1, 4, 1)
    frames[0, :2, 0] += 1.0  # both frames of the short one
    frames[0, 2:, 0] = 1e6  # padding
    frames[1, 0, 0] += 1.0  # one frame of four
    parts = MplLoss(small_config())(estimates(labels, frames, counts), labels)
    assert float(parts.frame[0]) == pytest.approx((0.5 + 0.5 / 4) / 2)
    assert float(parts.utterance.sum()) == pytest.approx(0.0, abs=1e-6)


def test_frames_of_a_splice_are_held_to_their_own_labels():
    counts = torch.tensor([4])
    frame_labels = LABELS[:, None].repeat(1, 4, 1)
    frame_labels[0, 2:, 0] += 1.0
    right = MplLoss(small_config())(estimates(LABELS, frame_labels, counts), LABELS, frame_labels)
    assert float(right.frame.sum()) == pytest.approx(0.0, abs=1e-6)
    flat = LABELS[:, None].repeat(1, 4, 1)
    wrong = MplLoss(small_config())(estimates(LABELS, flat, counts), LABELS, frame_labels)
    assert float(wrong.frame[0]) == pytest.approx(0.5 * 2 / 4)
    unlabelled = LABELS.clone()
    unlabelled[0, 0] = torch.nan
    missing = MplLoss(small_config())(estimates(LABELS, flat, counts), unlabelled, frame_labels)
    assert missing.frame[0].isnan()
    assert missing.total.isfinite()


def test_missing_labels_add_nothing_and_give_no_gradient():
    labels = LABELS.repeat(3, 1)
    labels[0, 0] = torch.nan
    labels[:, 5] = torch.nan
    scores = (LABELS.repeat(3, 1) + 0.5).requires_grad_()
    parts = MplLoss(small_config())(estimates(scores, scores[:, None], torch.tensor([1, 1, 1])), labels)
    parts.total.backward()
    assert scores.grad is not None
    assert float(scores.grad[0, 0]) == 0.0
    assert torch.equal(scores.grad[:, 5], torch.zeros(3))
    assert float(scores.grad[1, 0]) == pytest.approx(2 * 0.5 / 2), "the mean is over the utterances with a label"
    assert parts.utterance[5].isnan()
    assert float(parts.utterance[0]) == pytest.approx(0.125)


def test_raw_units_weigh_errors_as_they_are():
    """STOI and SDI are off by a quarter and three eighths of an MOS point, PESQ by five quarters."""
    config = small_config(target_scale="raw", loss="mse")
    expected = 2 * (3 * 1.0 + 1.25**2 + 0.25**2 + 0.375**2)
    assert float(loss_of(1.0, config)) == pytest.approx(expected, rel=1e-5)


def test_losses_of_shares_add_up_to_that_of_the_whole():
    torch.manual_seed(0)
    labels = LABELS.repeat(5, 1)
    labels[0, 0] = labels[3, 1] = labels[4, 1] = torch.nan
    labels[:, 5] = torch.nan
    frames = labels[:, None].nan_to_num(1.0) + torch.randn(5, 3, 6)
    scores, counts = frames.mean(dim=1), torch.tensor([1, 2, 3, 3, 1])
    loss = MplLoss(small_config())
    whole = loss(estimates(scores, frames, counts), labels)
    present = (~labels.isnan()).sum(dim=0)
    shares = [
        loss(estimates(scores[part], frames[part], counts[part]), labels[part], present=present)
        for part in (slice(0, 3), slice(3, 5))
    ]
    assert float(shares[0].total + shares[1].total) == pytest.approx(float(whole.total), rel=1e-6)
    torch.testing.assert_close(shares[0].utterance + shares[1].utterance, whole.utterance, equal_nan=True)
    assert float(loss.total(whole.utterance.nan_to_num(), whole.frame.nan_to_num())) == pytest.approx(
        float(whole.total)
    )
