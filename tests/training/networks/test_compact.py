from __future__ import annotations

import numpy as np
import pytest
import torch

from mtqscore.targets import BINS, SUPERVISED, TARGETS
from mtqscore.training.networks.compact import ConvBlock
from mtqscore.training.networks.spectrum import PowerSpectrum, active_power, random_recolour
from tests.training_kit import SMALL, paused_tone, small_network

LENGTHS = (24_000, 16_384, 8_191, 16_385, 9_000)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Recordings of several lengths and levels; what lies beyond a length is loud garbage."""
    waveform = np.random.default_rng(9).standard_normal((len(LENGTHS), max(LENGTHS))).astype(np.float32)
    for row, length in enumerate(LENGTHS):
        waveform[row, :length] = paused_tone(length, 0.1 * row, row) * 10.0 ** (-row / 2)
    return torch.from_numpy(waveform), torch.tensor(LENGTHS)


def test_frame_counts(batch):
    waveform, lengths = batch
    network = small_network()
    features, mask = network.spectrum(waveform, lengths)
    assert features.shape == (len(LENGTHS), 24_000 // 256 + 1, BINS)
    assert mask.sum(1).tolist() == [length // 256 + 1 for length in LENGTHS]
    scores, frames, _ = network(waveform, lengths)
    assert scores.shape == (len(LENGTHS), len(TARGETS))
    assert frames.shape == (len(LENGTHS), 24_000 // 512 + 1, len(TARGETS))


def test_spectrum_is_that_of_a_centred_hamming_stft(batch):
    waveform, _ = batch
    clip = waveform[1, : LENGTHS[1]]
    features, _ = PowerSpectrum(SMALL)(clip[None], torch.tensor([len(clip)]))
    padded = torch.nn.functional.pad(clip, (256, 256)).double()
    window = torch.hamming_window(512, dtype=torch.float64)
    stft = torch.stft(padded, 512, 256, 512, window, center=False, return_complex=True).abs().square().T
    power = stft / window.square().sum() / active_power(clip[None], torch.tensor([len(clip)])).double()
    expected = (10 * torch.log10(power + 10 ** (SMALL.floor_db / 10)) - SMALL.feature_mean_db) / SMALL.feature_spread_db
    torch.testing.assert_close(features[0].double(), expected, atol=2e-4, rtol=0)


def test_item_depends_neither_on_its_padding_nor_on_its_batch(batch):
    waveform, lengths = batch
    network = small_network()
    with torch.inference_mode():
        scores, frames, _ = network(waveform, lengths)
        for row, length in enumerate(LENGTHS):
            alone, alone_frames, _ = network(waveform[row : row + 1, :length], lengths[row : row + 1])
            own = length // 512 + 1
            torch.testing.assert_close(alone[0], scores[row], atol=1e-4, rtol=0)
            torch.testing.assert_close(alone_frames[0], frames[row, :own], atol=1e-4, rtol=0)
    assert scores.std(dim=0).min() > 1e-3, "scores that are all alike would pass anything"


@pytest.mark.parametrize("gain", [1e-4, 0.03, 30.0])
def test_gain_does_not_matter(batch, gain):
    waveform, lengths = batch
    network = small_network()
    with torch.inference_mode():
        torch.testing.assert_close(
            network(waveform * gain, lengths)[0], network(waveform, lengths)[0], atol=1e-4, rtol=0
        )


def test_level_is_that_of_the_active_frames():
    clip = torch.zeros(1, 16_384)
    clip[:, :2_048] = 0.5 * torch.randn(1, 2_048, generator=torch.Generator().manual_seed(1))
    clip[:, 2_048:] = 1e-3
    level = active_power(clip, torch.tensor([16_384]))
    assert float(level) == pytest.approx(float(clip[:, :2_048].square().mean()), rel=1e-4)


def test_silence_and_the_smallest_signals_stay_finite():
    clips = torch.zeros(3, 8_000)
    clips[1, 4_000] = 1e-7
    clips[2] = 1e-9
    scores, frames, _ = small_network()(clips, torch.tensor([8_000, 8_000, 8_000]))
    assert torch.isfinite(scores).all()
    assert torch.isfinite(frames).all()


def test_scores_keep_to_the_limits_of_their_targets(batch):
    network = small_network()
    with torch.no_grad():
        for head in network.heads.values():
            head.score.weight.mul_(1e4)
    frames = network(*batch)[1]
    low = torch.tensor([target.low for target in TARGETS])
    high = torch.tensor([target.high for target in TARGETS])
    assert (frames >= low).all()
    assert (frames <= high).all()
    assert frames.max() > 4.9, "the limits were never near"


def test_dropping_the_pseudo_heads_keeps_the_others_to_the_bit(batch):
    network = small_network()
    slim = network.with_targets(["s_mos", "n_mos", "g_mos"])
    scores, frames, _ = network(*batch)
    slim_scores, slim_frames, _ = slim(*batch)
    assert slim.targets == SUPERVISED
    assert torch.equal(slim_scores, scores[:, :3])
    assert torch.equal(slim_frames, frames[:, :, :3])
    assert len(network.heads) == len(TARGETS), "the original lost its heads"


def test_frame_scores_do_not_see_a_constant_added_to_the_attention():
    """The bias of MOSA-Net's attention is left out because the softmax does not notice it."""
    network = small_network()
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 5:] = False
    head = network.heads["s_mos"]
    energy = head.attention(x) * head.scale @ x.transpose(1, 2) + 3.0
    weights = torch.softmax(energy.masked_fill(~mask[:, None], -torch.inf), dim=2)
    expected = 1.0 + 4.0 * torch.sigmoid(head.score(weights @ x).squeeze(2))
    torch.testing.assert_close(head(x, mask), expected, atol=1e-5, rtol=0)


def test_recolouring_keeps_the_level_and_its_limits():
    gains = random_recolour(torch.Generator().manual_seed(2), 200, 4.0)
    assert gains.shape == (200, BINS)
    decibels = 10 * torch.log10(gains)
    assert 3.0 < decibels.abs().max() <= 4.0 + 1e-4
    assert (decibels[:, 1:] - decibels[:, :-1]).abs().max() < 1.0, "the curve is not smooth"
    clip = torch.from_numpy(paused_tone(16_000, 1.0, 0))[None]
    spectrum = PowerSpectrum(SMALL)
    lengths = torch.tensor([16_000])

    def total(recolour: torch.Tensor | None) -> torch.Tensor:
        features, _ = spectrum(clip, lengths, recolour)
        decibels = features * SMALL.feature_spread_db + SMALL.feature_mean_db
        return (10 ** (decibels / 10)).sum()

    torch.testing.assert_close(total(gains[:1]), total(None), rtol=1e-3, atol=0)
    assert not torch.allclose(spectrum(clip, lengths, gains[:1])[0], spectrum(clip, lengths)[0], atol=1e-2)


def test_gradient_of_a_masked_block_is_that_of_a_product_with_the_mask():
    torch.manual_seed(0)
    block = ConvBlock(2, 3, (3, 5), (2, 3))
    counts = [4, 2, 3]
    mask = (torch.arange(4)[None] < torch.tensor(counts)[:, None])[:, None, :, None]
    x = torch.randn(3, 2, 8, 20).requires_grad_()
    weights = torch.randn(3, 3, 4, 7)
    found = block(x, counts)
    expected = torch.relu(block.norm(block.conv(x))) * mask
    torch.testing.assert_close(found, expected)
    assert (found[:, :, 3] == 0)[1].all()
    variables = [x, *block.parameters()]
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 0
