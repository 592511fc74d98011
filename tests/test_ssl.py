"""Self-supervised front ends and the networks that rest on them, built small with random weights."""

from __future__ import annotations

import copy
import http.server
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from mtqscore.config import TrainConfig
from mtqscore.errors import EnvironmentProblemError, InputError, UsageError
from mtqscore.network_config import SSL_BUNDLES, MosaNetConfig, MosSslConfig, NetworkConfig, SslConfig, XlsRSqaConfig
from mtqscore.resolve import from_plain, to_plain
from mtqscore.spec import TARGETS
from mtqscore.training.distributed import Ranks
from mtqscore.training.networks import Network, build
from mtqscore.training.ssl import weights
from mtqscore.training.ssl.front_end import SslFrontEnd, frame_counts

LENGTHS = torch.tensor([9_000, 333, 5_123])
TINY = SslConfig(model="custom")


def waveforms(seed: int = 0) -> Tensor:
    """Noise with an offset; what lies beyond each length is loud, and must not be heard."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max()), generator=generator) + 0.03


def front_end(seed: int = 0, **changes: Any) -> SslFrontEnd:
    torch.manual_seed(seed)
    made = SslFrontEnd(replace(TINY, **changes))
    # Fresh models have every normalisation and gate at its start, where mistakes could hide.
    with torch.no_grad():
        for parameter in made.pretrained_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made.eval()


def network(config: NetworkConfig, targets: tuple[str, ...] = tuple(target.name for target in TARGETS)) -> Network:
    torch.manual_seed(1)
    made = build(TrainConfig(network=config, targets=targets))
    made.front_end().load_pretrained()
    return made


def weights_file(path: Path, **changes: Any) -> Path:
    """Save the weights of a random front end as torchaudio's files hold them."""
    torch.save(front_end(tune=True, **changes).body.state_dict(), path)
    return path


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
    heard = waveform
    if weights.bundle_of(config)._normalize_waveform:
        heard = torch.nn.functional.layer_norm(waveform, waveform.shape)
    with torch.no_grad():
        blocks = reference.extract_features(heard)[0]
        last = reference(heard)[0]
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
        heard = waveforms()[:1]
        if made[0]._normalizes_waveform:
            heard = torch.nn.functional.layer_norm(heard, heard.shape)
        with torch.no_grad():
            found = reference(heard, output_hidden_states=True)
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
def test_large_models_hear_a_normalised_waveform(like: str) -> None:
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
    assert not any(module.training for module in front._model().modules())
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


NETWORKS = {
    "mos-ssl": MosSslConfig(ssl=replace(TINY, tune=True, layers="last", custom_like="wav2vec2-base")),
    "xls-r-sqa": XlsRSqaConfig(ssl=replace(TINY, layers="1", custom_like="xls-r-300m")),
}
JOINED = MosaNetConfig(channels=(2, 2, 2, 2), lstm_units=4, dense_units=4, ssl=replace(TINY, tune=True))


@pytest.mark.parametrize("config", [*NETWORKS.values(), JOINED], ids=[*NETWORKS, "mosa-net"])
def test_an_utterance_does_not_depend_on_its_companions(config: NetworkConfig) -> None:
    made = network(config).eval()

    def judged(waveform: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        made.zero_grad()
        scores, frames, mask = made(waveform, lengths)
        assert mask.shape == frames.shape[:2] == (len(lengths), len(made.frame_positions(waveform.shape[1])))
        (scores.sum() + frames[mask].sum()).backward()
        gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
        own = [item[valid] for item, valid in zip(frames.detach(), mask, strict=True)]
        return scores.detach(), own, gradients

    scores, frames, gradients = judged(waveforms(), LENGTHS)
    total = {name: torch.zeros_like(value) for name, value in gradients.items()}
    for item, length in enumerate(LENGTHS):
        alone = judged(waveforms()[item : item + 1, :length], LENGTHS[item : item + 1])
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


def test_xls_r_sqa_learns_from_a_single_frame_in_one_process_or_several() -> None:
    made = network(NETWORKS["xls-r-sqa"], ("s_mos",)).train()
    for module in made.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            module.p = module.dropout = 0.0
    found = []
    for ranks in (Ranks(), Ranks(0, 2)):
        ranks.adapt(made)
        ranks.count = 1
        made.zero_grad()
        scores = made(waveforms()[:1, :600], torch.tensor([600])).scores
        scores.sum().backward()
        found += [scores.detach(), made.project.weight.grad.clone()]
        assert (made.input_norm.norm.running_mean == 0).all() and (made.input_norm.norm.running_var == 1).all()
    torch.testing.assert_close(found[:2], found[2:])
    assert found[1].abs().max() > 0


@pytest.mark.parametrize("kind", [MosSslConfig, XlsRSqaConfig])
@pytest.mark.parametrize("like", ["wavlm-large", "wavlm-base-plus", "hubert-base", "xls-r-300m"])
def test_bfloat16_is_close(like: str, kind: type[MosSslConfig | XlsRSqaConfig]) -> None:
    made = network(kind(ssl=replace(TINY, custom_like=like, tune=True))).eval()
    with torch.autocast("cpu", torch.bfloat16):
        rough = made(waveforms(), LENGTHS).scores
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, made(waveforms(), LENGTHS).scores, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "wavlm"}, "ssl model 'wavlm' is none of hubert-base"),
        ({"layers": "first"}, "neither weighted, last, nor the number"),
        ({"layers": "-1"}, "neither weighted, last, nor the number"),
        ({"layers": "²"}, "neither weighted, last, nor the number"),
        ({"lr": 0}, "lr 0 must be above 0"),
        ({"custom_like": "custom"}, "custom_like 'custom' is none of"),
        ({"custom_units": 33}, "multiple of custom_heads"),
        ({"custom_layers": 0}, "must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        from_plain(SslConfig, values, "train.toml")


def test_settings_survive_a_file() -> None:
    config = TrainConfig(network=XlsRSqaConfig(ssl=replace(TINY, checkpoint=Path("a b/ü'\n.pt"), layers="2")))
    assert from_plain(TrainConfig, to_plain(config), "config.json") == config


class Dangerous:
    """What a pickle could hold."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("never",))


def test_files_that_are_not_the_weights_are_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = torch.load(weights_file(tmp_path / "good.pth"))
    ugly = tmp_path / "-a \n'\udcff.pt"
    config = replace(TINY, checkpoint=ugly)

    def refused(content: object) -> str:
        if isinstance(content, bytes):
            ugly.write_bytes(content)
        else:
            torch.save(content, ugly)
        with pytest.raises(InputError) as caught:
            SslFrontEnd(config).load_pretrained()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
        return str(caught.value)

    assert "not unpickled" in refused({"args": Dangerous()})
    assert "not a plain table of tensors" in refused({"cfg": {}, "model": good})
    assert "not a plain table of tensors" in refused([1, 2])
    whole = (tmp_path / "good.pth").read_bytes()
    for content in (b"", b"RIFF", whole[: len(whole) // 2]):
        assert "weights" in refused(content) or "damaged" in refused(content)
    assert "are missing, such as" in refused({})
    last = "encoder.transformer.layers.1.final_layer_norm.bias"
    assert f"1 tensors are missing, such as '{last}'" in refused({k: v for k, v in good.items() if k != last})
    assert "1 tensors do not belong, such as 'odd'" in refused(good | {"odd": torch.ones(1)})
    assert "size mismatch" in refused(good | {last: torch.zeros(7)})
    bias = "feature_extractor.conv_layers.0.conv.bias"
    assert bias in refused(good | {bias: torch.ones(16)})
    torch.save(good | {bias: torch.zeros(16), "aux.weight": torch.ones(2, 2)}, ugly)
    SslFrontEnd(config).load_pretrained()
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    for name in ("", "gone.pt", "gone.safetensors", "x" * 300 + ".pt"):
        with pytest.raises(InputError, match="cannot read weights"):
            SslFrontEnd(replace(TINY, checkpoint=tmp_path / name)).load_pretrained()
    with pytest.raises(InputError, match="not a file of weights"):
        SslFrontEnd(replace(TINY, checkpoint=tmp_path / "x.safetensors")).load_pretrained()
    assert "never" not in capfd.readouterr().out


class Server(http.server.BaseHTTPRequestHandler):
    """Promises 2,000,000 bytes, and of some files sends fewer."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2000000")
        self.end_headers()
        self.wfile.write(bytes(1_500_000 if "wavlm" in self.path else 2_000_000))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty torch cache, and a server in place of the real one."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weights, "WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/models/")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield tmp_path / "hub" / "checkpoints"
    server.shutdown()
    server.server_close()


def test_weights_are_fetched_once_and_whole(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = weights.find_weights(SslConfig(model="hubert-base"))
    assert path == home / "hubert_fairseq_base_ls960.pth"
    assert path.stat().st_size == 2_000_000
    said = capsys.readouterr()
    assert not said.out and "hubert_fairseq_base_ls960.pth (0.00 GB)" in said.err
    assert weights.find_weights(SslConfig(model="hubert-base")) == path
    assert not capsys.readouterr().err
    with pytest.raises(EnvironmentProblemError, match="1500000 of 2000000 bytes"):
        weights.find_weights(SslConfig(model="wavlm-large"))
    assert [entry.name for entry in home.iterdir()] == [path.name]


def test_offline_says_where_the_file_belongs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "WEIGHTS_URL", "http://127.0.0.1:9/models/")
    with pytest.raises(EnvironmentProblemError) as caught:
        weights.find_weights(SslConfig(model="xls-r-300m"))
    for part in (
        "http://127.0.0.1:9/models/wav2vec2_xlsr_300m.pth",
        str(home / "wav2vec2_xlsr_300m.pth"),
        "checkpoint",
    ):
        assert part in str(caught.value)
    assert not list(home.iterdir())
