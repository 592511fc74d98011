"""Networks with a front end: an utterance by itself, learning, precision and settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mtqscore.targets import TARGETS
from mtqscore.training.network_config import MosaNetConfig, MosSslConfig, NetworkConfig, XlsRSqaConfig
from tests.training.networks.ssl.kit import LENGTHS, TINY, network, waveforms

NETWORKS = {
    "mos-ssl": MosSslConfig(ssl=replace(TINY, tune=True, layers="last", custom_like="wav2vec2-base")),
    "xls-r-sqa": XlsRSqaConfig(ssl=replace(TINY, layers="1", custom_like="xls-r-300m")),
}
JOINED = MosaNetConfig(channels=(2, 2, 2, 2), lstm_units=4, dense_units=4, ssl=replace(TINY, tune=True))


@pytest.mark.parametrize("config", [*NETWORKS.values(), JOINED], ids=[*NETWORKS, "mosa-net"])
def test_an_utterance_does_not_depend_on_its_companions(config: NetworkConfig) -> None:
    made = network(config).eval()

    def estimated(waveform: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        made.zero_grad()
        scores, frames, mask = made(waveform, lengths)
        assert mask.shape == frames.shape[:2] == (len(lengths), len(made.frame_positions(waveform.shape[1])))
        (scores.sum() + frames[mask].sum()).backward()
        gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
        own = [item[valid] for item, valid in zip(frames.detach(), mask, strict=True)]
        return scores.detach(), own, gradients

    scores, frames, gradients = estimated(waveforms(), LENGTHS)
    total = {name: torch.zeros_like(value) for name, value in gradients.items()}
    for item, length in enumerate(LENGTHS):
        alone = estimated(waveforms()[item : item + 1, :length], LENGTHS[item : item + 1])
        torch.testing.assert_close(alone[0][0], scores[item], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone[1][0], frames[item], atol=2e-5, rtol=0)
        for name, value in alone[2].items():
            total[name] += value
    noise = 1e-6 * max(float(value.abs().max()) for value in gradients.values())
    for name, value in gradients.items():
        torch.testing.assert_close(total[name], value, atol=max(noise, 5e-5 * float(value.abs().max())), rtol=0)
    assert (scores[0] - scores[2]).abs().max() > 1e-4


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_networks_learn_and_fewer_targets_give_the_same_scores(config: NetworkConfig) -> None:
    made = network(config).train()
    waveform = waveforms() * torch.tensor([[0.1], [1.0], [1.0]]) + torch.sin(torch.arange(9_000) / 3)
    labels = torch.tensor([1.5, 4.5, 3.0])[:, None].expand(-1, 6)
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(25):
        loss = (made(waveform, LENGTHS).scores - labels)[:, :3].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    made.eval()
    whole, slim = made(waveform, LENGTHS), made.with_targets(["n_mos"])(waveform, LENGTHS)
    assert torch.equal(slim.scores[:, 0], whole.scores[:, 1])


def test_mos_ssl_is_a_linear_layer_of_the_mean() -> None:
    made = network(NETWORKS["mos-ssl"], ("s_mos",)).eval()
    embedding, counts = made.front_end()(waveforms(), LENGTHS)
    mean = embedding.sum(1) / counts[:, None]
    torch.testing.assert_close(made(waveforms(), LENGTHS).scores, made.heads["s_mos"](mean), atol=1e-5, rtol=0)


def test_xls_r_sqa_keeps_its_statistics_free_of_padding() -> None:
    made = network(NETWORKS["xls-r-sqa"]).train()
    with torch.no_grad():
        made(waveforms(), LENGTHS)
        embedding, counts = made.front_end()(waveforms(), LENGTHS)
    valid = torch.cat([item[:count] for item, count in zip(embedding, counts, strict=True)])
    torch.testing.assert_close(made.input_norm.norm.running_mean, 0.1 * valid.mean(0), atol=1e-5, rtol=0)
    scores = made.eval()(waveforms(), LENGTHS).scores
    assert all(((scores[:, i] >= t.low) & (scores[:, i] <= t.high)).all() for i, t in enumerate(TARGETS))


def test_xls_r_sqa_learns_from_a_single_frame() -> None:
    made = network(NETWORKS["xls-r-sqa"], ("s_mos",)).train()
    for module in made.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            module.p = module.dropout = 0.0
    made(waveforms()[:1, :600], torch.tensor([600])).scores.sum().backward()
    assert (made.input_norm.norm.running_mean == 0).all() and (made.input_norm.norm.running_var == 1).all()
    assert made.project.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", [MosSslConfig, XlsRSqaConfig])
@pytest.mark.parametrize("like", ["wavlm-large", "wavlm-base-plus", "hubert-base", "xls-r-300m"])
def test_bfloat16_is_close(like: str, kind: type[MosSslConfig | XlsRSqaConfig]) -> None:
    made = network(kind(ssl=replace(TINY, custom_like=like, tune=True))).eval()
    with torch.autocast("cpu", torch.bfloat16):
        rough = made(waveforms(), LENGTHS).scores
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, made(waveforms(), LENGTHS).scores, atol=0.1, rtol=0)
