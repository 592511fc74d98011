from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from mtqscore.targets import BINS, PSEUDO, SUPERVISED, TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.losses import MplLoss
from mtqscore.training.network_config import MosaNetConfig, SslConfig
from mtqscore.training.networks import build
from mtqscore.training.networks.attention import attend
from mtqscore.training.networks.mosa_net import MosaNet
from mtqscore.training.networks.spectrum import random_recolour, recoloured
from tests.training.networks.plain_mosa_net import plain_copy
from tests.training_kit import paused_tone

LENGTHS = (9_000, 5_121, 7_424, 2_311)
CUSTOM = SslConfig(model="custom", custom_units=24, custom_layers=1)
SMALL = MosaNetConfig(channels=(3, 4), convolutions=2, lstm_units=6, dense_units=8, dropout=0.0)
KINDS = {
    "published": SMALL,
    "front end": dataclasses.replace(SMALL, ssl=CUSTOM),
    "log, bounded, strided": dataclasses.replace(SMALL, spectrum="log", activation="bounded", time_stride=2),
    "spectrum alone, one convolution": dataclasses.replace(SMALL, sinc=False, convolutions=1, time_stride=3),
}


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Recordings of several lengths and levels; what lies beyond a length is loud garbage."""
    waveform = 50 * np.random.default_rng(9).standard_normal((len(LENGTHS), max(LENGTHS) + 700)).astype(np.float32)
    for row, length in enumerate(LENGTHS):
        waveform[row, :length] = paused_tone(length, 0.1 + 0.2 * row, row) * 10.0 ** (-row / 2)
    return torch.from_numpy(waveform[:, : max(LENGTHS)]), torch.tensor(LENGTHS)


def lively(config: MosaNetConfig, seed: int = 0, targets: tuple = TARGETS) -> MosaNet:
    """A network in training mode whose layers all matter: fresh ones of so few units hardly see their input."""
    torch.manual_seed(seed)
    network = MosaNet(config, targets)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("blocks") and name.endswith("weight"):
                parameter.mul_(2**0.5)
            elif name.startswith("blocks"):
                parameter.normal_(0.0, 0.02)
            elif "attention.weight" in name:
                parameter.normal_(0.0, 0.4)
            elif name.startswith("sinc"):
                parameter.add_(0.01 * torch.randn(BINS))
    return network.train()


def trained_size(network: MosaNet) -> int:
    return sum(parameter.numel() for name, parameter in network.named_parameters() if not name.startswith("ssl."))


def test_published_sizes():
    def size(targets: tuple[str, ...], units: int | None) -> int:
        ssl = None if units is None else dataclasses.replace(CUSTOM, custom_units=units, custom_heads=4)
        return trained_size(build(TrainConfig(targets=targets, network=MosaNetConfig(ssl=ssl))))

    six, three = tuple(target.name for target in TARGETS), tuple(target.name for target in PSEUDO)
    assert size(three, 1024) == 1_754_472
    assert size(six, 1024) == 1_804_014
    assert size(six, 768) == 1_672_942
    assert size(six, None) == 1_279_214


def test_frame_counts():
    network = lively(dataclasses.replace(SMALL, ssl=CUSTOM))
    waveform = 0.1 * torch.randn(2, 48_000)
    _, frame_scores, mask = network(waveform, torch.tensor([48_000, 32_001]))
    assert mask.shape == frame_scores.shape[:2] == (2, 188 + 188 + 149)
    streams = mask.split((188, 188, 149), dim=1)
    assert [stream.sum(dim=1).tolist() for stream in streams] == [[188, 126], [188, 126], [149, 99]]
    positions = network.frame_positions(48_000)
    assert len(positions) == mask.shape[1]
    assert [stream[0].item() for stream in positions.split((188, 188, 149))] == [0, 62, 200]
    for stream in positions.split((188, 188, 149)):
        assert abs(int(stream[-1]) - 48_000) < 512


@pytest.mark.parametrize("samples", [5_000, 5_120, 5_121, 5_371])
def test_one_recording_gives_what_the_published_network_gives(samples):
    """Lengths where the padding of the filter bank and its rounding differ."""
    network = lively(MosaNetConfig(dropout=0.0))
    plain = plain_copy(network)
    clip = torch.from_numpy(paused_tone(samples, 0.3, 1))
    scores, frame_scores, mask = network(clip[None], torch.tensor([samples]))
    expected_scores, expected_frame_scores, expected_penalty = plain(clip)
    assert mask.all()
    assert expected_frame_scores.std(dim=0).min() > 2e-4, "nothing to compare: the frames are alike"
    torch.testing.assert_close(scores[0], expected_scores, atol=3e-6, rtol=0)
    torch.testing.assert_close(frame_scores[0], expected_frame_scores, atol=3e-6, rtol=0)
    penalty = network.penalty()
    torch.testing.assert_close(penalty, expected_penalty, atol=1e-5, rtol=1e-5)
    (scores.sum() + penalty).backward()
    (expected_scores.sum() + expected_penalty).backward()
    for name, found, expected in (
        ("low", network.sinc.low.grad.flip(0), plain.low.grad),
        ("band", network.sinc.band.grad.flip(0), plain.band.grad),
        ("first layer", network.blocks[0].convolutions[0].weight.grad.flip(3), plain.convolutions[0].weight.grad),
        ("attention", network.heads["n_mos"].attention.weight.grad.T, plain.attention["n_mos"].grad),
    ):
        assert (expected != 0).all(), name
        # Now and then rounding puts a sum on the other side of a ReLU.
        assert (found - expected).norm() < 5e-3 * expected.norm(), name


@pytest.mark.parametrize("kind", KINDS)
def test_item_depends_neither_on_its_padding_nor_on_its_batch(batch, kind):
    """Scores, and the gradients of all parameters with every regulariser: those of a batch are the mean of single."""
    waveform, lengths = batch
    network = lively(KINDS[kind])
    loss = MplLoss(TrainConfig())
    labels = torch.rand(len(lengths), len(TARGETS), generator=torch.Generator().manual_seed(3)) + 1.0
    recolour = random_recolour(torch.Generator().manual_seed(4), len(lengths), 6.0)

    def learn(rows: slice, samples: int) -> tuple[torch.Tensor, ...]:
        network.zero_grad()
        estimates = network(waveform[rows, :samples], lengths[rows], recolour[rows])
        (loss(estimates, labels[rows]).total + network.penalty()).backward()
        return estimates

    found = learn(slice(None), waveform.shape[1])
    learnt = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    gradients = {name: parameter.grad for name, parameter in learnt.items()}
    assert all(gradient is not None for gradient in gradients.values())
    means = {name: torch.zeros_like(gradient) for name, gradient in gradients.items()}
    for row, length in enumerate(LENGTHS):
        alone = learn(slice(row, row + 1), length)
        torch.testing.assert_close(alone.scores[0], found.scores[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.frame_scores[0], found.frame_scores[row, found.mask[row]], atol=1e-5, rtol=0)
        assert alone.mask.all()
        for name, parameter in learnt.items():
            means[name] += parameter.grad / len(LENGTHS)
    for name, gradient in gradients.items():
        if not name.endswith("attention_bias"):
            assert gradient.abs().max() > 0, name
        assert (gradient - means[name]).norm() <= 5e-3 * means[name].norm() + 1e-6, name


@pytest.mark.parametrize("kind", ["published", "log, bounded, strided"])
def test_dropping_the_pseudo_heads_keeps_the_others_to_the_bit(batch, kind):
    network = lively(KINDS[kind])
    network(*batch)  # leaves regularisers behind, which must not be copied
    slim = network.with_targets(target.name for target in SUPERVISED)
    scores, frames, _ = network.eval()(*batch)
    slim_scores, slim_frames, _ = slim.eval()(*batch)
    assert slim.targets == SUPERVISED
    assert torch.equal(slim_scores, scores[:, :3])
    assert torch.equal(slim_frames, frames[:, :, :3])
    assert set(network.heads) == {target.name for target in TARGETS}


def test_what_tasks_share_starts_alike_whatever_the_tasks():
    def start(targets: tuple) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        return MosaNet(dataclasses.replace(SMALL, ssl=CUSTOM), targets).state_dict()

    few, all_six = start(SUPERVISED), start(TARGETS)
    assert all(torch.equal(value, all_six[name]) for name, value in few.items())


def test_activations(batch):
    def scores(activation: str) -> torch.Tensor:
        network = lively(dataclasses.replace(SMALL, activation=activation))
        with torch.no_grad():
            for head in network.heads.values():
                head.score.weight.mul_(1e3)
        return network(*batch).frame_scores.flatten(0, 1)

    low = torch.tensor([target.low for target in TARGETS])
    high = torch.tensor([target.high for target in TARGETS])
    bounded, paper = scores("bounded"), scores("paper")
    assert ((bounded >= low) & (bounded <= high)).all()
    outside = ((paper < low) | (paper > high)).any(dim=0)
    assert {target.name for target, is_outside in zip(TARGETS, outside, strict=True) if not is_outside} == {"stoi"}


@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_level_does_not_matter_and_silence_is_scored(batch, spectrum):
    waveform, lengths = batch
    network = lively(dataclasses.replace(SMALL, spectrum=spectrum)).eval()
    with torch.inference_mode():
        loud, faint = network(waveform * 100, lengths), network(waveform * 1e-4, lengths)
        torch.testing.assert_close(loud.scores, faint.scores, atol=1e-4, rtol=1e-4)
        for clip in (torch.zeros(1, 700), 1e-30 * torch.ones(1, 700), torch.eye(1, 700)):
            assert torch.isfinite(network(clip, torch.tensor([700])).frame_scores).all()
    network.train()
    estimates = network(torch.zeros(1, 700), torch.tensor([700]))
    (estimates.scores.sum() + network.penalty()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_equaliser_has_its_gains_and_no_delay():
    waveform = torch.zeros(2, 4_000)
    waveform[:, 2_000] = 1.0
    waveform[1, 3_000:] = 9.0
    gains = random_recolour(torch.Generator().manual_seed(2), 2, 12.0)
    lengths = torch.tensor([4_000, 2_600])
    waveform[1, 2_600:] = 0.0
    made = recoloured(waveform, lengths, gains)
    power = torch.fft.rfft(made[:, 2_000 - 256 : 2_000 + 256]).abs().square()
    torch.testing.assert_close(power, gains, atol=1e-4, rtol=1e-3)
    assert (made.abs().argmax(dim=1) == 2_000).all()
    assert (made[1, 2_600:] == 0).all()
    assert (gains.log10().abs().amax(dim=1) > 0.05).all()


def test_attention_and_its_gradient_are_those_of_the_formula():
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(2, 7, 3, generator=generator).requires_grad_() for _ in range(2))
    numbers = torch.randn(2, 7, generator=generator).requires_grad_()
    counts = [7, 4]
    wanted = torch.randn(2, 7, generator=generator), torch.randn(2, generator=generator)
    found = attend(query, key, numbers, counts, redundancy=True)
    mask = torch.arange(7) < torch.tensor(counts)[:, None]
    energy = (query @ key.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf)
    weights = torch.softmax(energy, dim=2) * mask[:, :, None]
    expected = (weights @ numbers[:, :, None])[:, :, 0]
    redundancy = (weights @ weights.transpose(1, 2) - torch.diag_embed(mask.float())).square().sum(dim=(1, 2))
    torch.testing.assert_close(found.values, expected)
    torch.testing.assert_close(found.redundancy, redundancy)
    assert (redundancy > 0.1).all()
    gradients = [
        torch.autograd.grad((one * wanted[0]).sum() + (other * wanted[1]).sum(), (query, key, numbers))
        for one, other in (tuple(found), (expected, redundancy))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert (one[1, 4:] == 0).all()


def test_regularisers_are_those_of_the_last_pass_and_given_once(batch):
    network = lively(SMALL)
    network(*batch)
    copied = copy.deepcopy(network)
    first, second = network.penalty(), network.penalty()
    assert first > second > 0
    assert torch.equal(copied.penalty(), second), "a copy has weights, but has not been used"
    network.eval()(*batch)
    assert torch.equal(network.penalty(), second), "nothing is regularised where nothing is learnt"
    free = lively(dataclasses.replace(SMALL, attention_penalty=0.0, weight_penalty=0.0))
    free(*batch)
    assert free.penalty() == 0


def test_bfloat16_moves_scores_and_gradients_little(batch):
    network = lively(dataclasses.replace(SMALL, spectrum="log", ssl=CUSTOM))
    found = []
    for short in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            scores = network(*batch).scores
        (scores.square().mean() + network.penalty()).backward()
        found.append((scores.detach(), network.dense.weight.grad.clone()))
    (scores, gradient), (short_scores, short_gradient) = found
    assert short_scores.dtype == torch.float32
    assert 0 < (scores - short_scores).abs().max() < 0.05
    assert (gradient - short_gradient).norm() < 0.1 * gradient.norm()
