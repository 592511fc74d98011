"""Self-supervised front ends, built small with random weights: alone and in batches, layers, what is in the state."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from mtqscore.errors import InputError, UsageError
from mtqscore.targets import TARGETS
from mtqscore.training.config import TrainConfig
from mtqscore.training.network_config import SSL_BUNDLES, MosSslConfig
from mtqscore.training.networks import build
from mtqscore.training.networks.ssl import weights
from mtqscore.training.networks.ssl.front_end import SslFrontEnd, frame_counts
from tests.training.networks.ssl.kit import LENGTHS, TINY, front_end, network, waveforms, weights_file


@pytest.mark.parametrize("like", SSL_BUNDLES)
def test_alone_and_in_a_batch_an_item_gives_the_same(like: str) -> None:
    made = front_end(custom_like=like)
    with torch.no_grad():
        batch, counts = made(waveforms(), LENGTHS)
        assert counts.tolist() == [27, 1, 15]
        assert batch.shape == (3, len(made.frame_positions(int(LENGTHS.max()))), made.width)
        for item, length in enumerate(LENGTHS):
            alone, count = made(waveforms()[item : item + 1, :length], LENGTHS[item : item + 1])
            assert count == counts[item]
            torch.testing.assert_close(alone[0], batch[item, :count], atol=1e-5, rtol=0)
            assert not batch[item, count:].any()
    assert batch[0].std() > 0.1, "nothing would differ from nothing"


@pytest.mark.parametrize("like", ["wavlm-large", "wavlm-base-plus", "xls-r-300m", "hubert-base"])
def test_gradients_do_not_depend_on_companions(like: str) -> None:
    made = front_end(custom_like=like, tune=True)
    weight = torch.randn(made.width)

    def gradients(waveform: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        made.zero_grad()
        (made(waveform, lengths)[0] @ weight).square().sum().backward()
        return {name: value.grad.clone() for name, value in made.named_parameters() if value.grad is not None}

    batch = gradients(waveforms(), LENGTHS)
    alone = [gradients(waveforms()[i : i + 1, :length], LENGTHS[i : i + 1]) for i, length in enumerate(LENGTHS)]
    assert len(batch) > 20
    # Some gradients are nothing but rounding: a bias of the keys moves no softmax.
    noise = 1e-6 * max(float(value.abs().max()) for value in batch.values())
    for name, value in batch.items():
        expected = sum(single[name] for single in alone)
        torch.testing.assert_close(value, expected, atol=max(noise, 2e-5 * float(value.abs().max())), rtol=0)


@pytest.mark.parametrize("like", SSL_BUNDLES)
def test_same_as_torchaudio_computes_it(like: str, tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.pth", custom_like=like)
    config = replace(TINY, custom_like=like, checkpoint=path)
    sizes = weights.model_sizes(config)
    reference = weights.build_model(config, sizes).eval()
    reference.load_state_dict(torch.load(path))
    waveform = waveforms()[:1]
    given = waveform
    if weights.bundle_of(config)._normalize_waveform:
        given = torch.nn.functional.layer_norm(waveform, waveform.shape)
    with torch.no_grad():
        blocks = reference.extract_features(given)[0]
        last = reference(given)[0]
        for layers, expected in (("1", blocks[0]), ("2", last), ("last", last)):
            made = SslFrontEnd(replace(config, layers=layers))
            made.load_pretrained()
            torch.testing.assert_close(made(waveform, torch.tensor([9_000]))[0], expected, atol=1e-5, rtol=0)


FORMS = {
    "hubert-base": ("Hubert", {}),
    "hubert-large": ("Hubert", {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}),
    "wavlm-base-plus": ("WavLM", {}),
    "wavlm-large": ("WavLM", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "xls-r-300m": ("Wav2Vec2", {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}),
}


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("like", FORMS)
def test_same_as_transformers_computes_it(like: str, kind: str, tmp_path: Path) -> None:
    weights.load_torchaudio("torchaudio")  # which transformers imports, and cannot beside every torch
    transformers = pytest.importorskip("transformers")
    name, form = FORMS[like]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        config = getattr(transformers, f"{name}Config")(conv_dim=(16,) * 7, num_buckets=320, **sizes, **form)
        torch.manual_seed(0)
        reference = getattr(transformers, f"{name}Model")(config).eval()
        with torch.no_grad():
            for key, parameter in reference.named_parameters():
                if parameter.dim() == 1 and not (like == "hubert-large" and key.endswith("conv.bias")):
                    parameter.add_(0.1 * torch.randn(parameter.shape))
        path = tmp_path / kind
        if kind.endswith("bin"):
            # As old files name the weight norm, and as models with a task on top name the front end.
            new = [f"parametrizations.weight.original{part}" for part in range(2)]
            state = {}
            for key, tensor in reference.state_dict().items():
                former = key.replace(new[0], "weight_g").replace(new[1], "weight_v")
                state[f"{name.lower()}.{former}"] = tensor
            torch.save(state | {"lm_head.weight": torch.zeros(3, 32)}, path)
        else:
            safetensors.torch.save_file(reference.state_dict(), path)
        made = [SslFrontEnd(replace(TINY, custom_like=like, checkpoint=path, layers=str(layer))) for layer in range(3)]
        given = waveforms()[:1]
        if made[0]._normalizes_waveform:
            given = torch.nn.functional.layer_norm(given, given.shape)
        with torch.no_grad():
            found = reference(given, output_hidden_states=True)
            # Release 5 gives the last state before its norm, earlier ones and fairseq after it.
            expected = (*found.hidden_states[:-1], found.last_hidden_state)
            for front, state_i in zip(made, expected, strict=True):
                front.load_pretrained()
                torch.testing.assert_close(front(waveforms()[:1], LENGTHS[:1])[0], state_i, atol=1e-5, rtol=0)


def test_frames_are_those_of_the_convolutions() -> None:
    made = front_end(layers="0")
    for length in (1, 399, 400, 719, 720, 721, 4_000, 16_123):
        samples = torch.randn(1, length)
        embedding, counts = made(samples, torch.tensor([length]))
        frames = max(0, length - 400) // 320 + 1
        assert counts.tolist() == [frames] == [embedding.shape[1]]
        assert made.frame_positions(length).tolist() == list(range(200, 200 + 320 * frames, 320))
    assert frame_counts(torch.tensor(0)) == 1
    assert made.hop_samples == 320


@pytest.mark.parametrize("like", ["hubert-large", "wavlm-large", "xls-r-300m"])
def test_large_models_get_a_normalised_waveform(like: str) -> None:
    made = front_end(custom_like=like)

    def gap() -> float:
        with torch.no_grad():
            return float((made(waveforms(), LENGTHS)[0] - made(0.2 + 3 * waveforms(), LENGTHS)[0]).abs().max())

    assert gap() < 2e-3
    made._normalizes_waveform = False
    assert gap() > 2e-2, "else the first assertion would say nothing"


def test_silence_gives_finite_numbers() -> None:
    for like in SSL_BUNDLES:
        embedding, _ = front_end(custom_like=like)(torch.zeros(2, 5_000), torch.tensor([5_000, 1]))
        assert embedding.isfinite().all()


def test_weighted_sum_starts_as_the_mean_of_all_hidden_states_and_learns() -> None:
    made = front_end(custom_layers=3)
    single = [front_end(custom_layers=3, layers=str(layer)) for layer in range(4)]
    for other in single:
        other.load_state_dict({k: v for k, v in made.state_dict().items() if k in other.state_dict()})
    states = [other(waveforms(), LENGTHS)[0] for other in single]
    torch.testing.assert_close(made(waveforms(), LENGTHS)[0], torch.stack(states).mean(0), atol=1e-5, rtol=0)
    with torch.no_grad():
        made.layer_weights[2] = 50.0
    torch.testing.assert_close(made(waveforms(), LENGTHS)[0], states[2], atol=1e-5, rtol=0)
    made(waveforms(), LENGTHS)[0].square().sum().backward()
    assert [name for name, value in made.named_parameters() if value.grad is not None] == ["layer_weights"]
    assert made.layer_weights not in set(made.pretrained_parameters())


def test_layers_can_be_brought_to_one_level_before_the_sum() -> None:
    embedding, _ = front_end(normalize_layers=True, custom_layers=1)(waveforms()[:1], LENGTHS[:1])
    plain, _ = front_end(custom_layers=1)(waveforms()[:1], LENGTHS[:1])
    assert embedding.mean(2).abs().max() < 1e-5 < plain.mean(2).abs().max()


def test_blocks_beyond_the_one_that_is_needed_are_not_there() -> None:
    made = front_end(custom_layers=5, layers="2")
    assert len(made.body.encoder.transformer.layers) == 2
    with pytest.raises(UsageError, match="custom has the hidden states 0 to 5"):
        front_end(custom_layers=5, layers="6")


def test_a_frozen_model_of_a_file_stays_out_of_everything(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.pth")
    config = MosSslConfig(ssl=replace(TINY, checkpoint=path))
    made = network(config)
    front = made.front_end()
    assert front is not None and not front.kept and not front.trainable
    assert set(made.state_dict()) == {"ssl.layer_weights"} | {
        f"heads.{target.name}.{kind}" for target in TARGETS for kind in ("weight", "bias")
    }
    made.train()
    assert not any(module.training for module in front.model.modules())
    twin = copy.deepcopy(made)
    assert next(twin.ssl.pretrained_parameters()) is next(front.pretrained_parameters())
    assert twin.ssl.layer_weights is not made.ssl.layer_weights
    assert front.fingerprint() == f"custom sha256:{weights.file_sha256(path)}" == twin.ssl.fingerprint()
    made.to(torch.float64)
    assert {parameter.dtype for parameter in front.pretrained_parameters()} == {torch.float64}
    made.to(torch.float32)
    # The state, and the file again, are the whole network.
    again = build(TrainConfig(network=config))
    again.front_end().load_pretrained()
    again.load_state_dict(made.state_dict())
    torch.testing.assert_close(again.eval()(waveforms(), LENGTHS).scores, made.eval()(waveforms(), LENGTHS).scores)


def test_a_tuned_model_is_in_the_state_and_needs_its_file_only_once(tmp_path: Path) -> None:
    path = weights_file(tmp_path / "w.pth")
    config = MosSslConfig(ssl=replace(TINY, checkpoint=path, tune=True, layers="last"))
    made = network(config, ("s_mos",))
    assert made.front_end().kept and made.front_end().trainable
    made.train()
    made(waveforms(), LENGTHS).scores.sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
    path.unlink()
    with pytest.raises(InputError, match="cannot read weights: No such file"):
        network(config, ("s_mos",))
    again = build(TrainConfig(network=config, targets=("s_mos",)))
    with pytest.raises(RuntimeError, match="load_pretrained"):
        again(waveforms(), LENGTHS)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval()(waveforms(), LENGTHS).scores, made.eval()(waveforms(), LENGTHS).scores)


def test_a_random_frozen_model_is_in_the_state() -> None:
    made = network(MosSslConfig(ssl=TINY))
    assert made.front_end().kept
    assert any(key.startswith("ssl.body.") for key in made.state_dict())
    assert not any(parameter.requires_grad for parameter in made.front_end().pretrained_parameters())
