"""MOS-SSL and XLS-R-SQA as ONNX graphs, on top of a self-supervised front end.

A front end's frames stand 320 samples apart from sample 200 on. The contract has frames at multiples of 320 samples:
each takes the score of the nearest frame that the item has.
"""

from __future__ import annotations

import math

import torch
from onnx import TensorProto
from torch import nn

from mtqscore.training.export.graph.builder import GraphBuilder, RawScores
from mtqscore.training.export.graph.features import join_audio, mask_audio
from mtqscore.training.export.graph.layers import (
    Frames,
    absent_energy,
    frame_mask,
    layer_norm,
    linear,
    masked,
    mean_over_frames,
    multi_head_attention,
    take_frames,
)
from mtqscore.training.export.graph.ssl import embed, joined_weights
from mtqscore.training.networks.mos_ssl import MosSslNet
from mtqscore.training.networks.ssl.front_end import HOP_SAMPLES
from mtqscore.training.networks.xls_r_sqa import POSITION_BASE, AttentionPool, MaskedBatchNorm, XlsRSqaNet


def mos_ssl_scores(graph: GraphBuilder, network: MosSslNet) -> RawScores:
    """Write MOS-SSL: one linear layer a target, and the mean."""
    frames = embed(graph, network.ssl, join_audio(graph, mask_audio(graph)))
    heads = [head for head in network.heads.values() if isinstance(head, nn.Linear)]
    joined = nn.Linear(network.ssl.width, len(heads))
    joined.weight, joined.bias = (
        nn.Parameter(torch.cat([getattr(head, name) for head in heads])) for name in ("weight", "bias")
    )
    raw = Frames(linear(graph, frames.x, joined, "heads"), frames.counts, frames.size)
    mask = frame_mask(graph, frames.counts, frames.size, "heads")
    return _on_contract_grid(graph, mean_over_frames(graph, raw, mask, "raw_scores"), raw)


def xls_r_sqa_scores(graph: GraphBuilder, network: XlsRSqaNet) -> RawScores:
    """Write XLS-R-SQA: normalisation, projection, positions, transformer, and one attention pooling a target."""
    embedding = embed(graph, network.ssl, join_audio(graph, mask_audio(graph)))
    x = linear(graph, _batch_norm(graph, embedding, network.input_norm, "input_norm"), network.project, "project")
    x = graph.add("Add", x, _positions(graph, embedding.size, network.config.units), name="placed")
    mask = frame_mask(graph, embedding.counts, embedding.size, "sqa")
    absent = absent_energy(graph, mask, "sqa")
    absent_4d = graph.add("Unsqueeze", absent, graph.vector(1), name="sqa_absent_4d")
    for number, block in enumerate(network.transformer.layers, start=1):
        assert isinstance(block, nn.TransformerEncoderLayer)
        name = f"sqa_block_{number}"
        attended = multi_head_attention(graph, x, joined_weights(block.self_attn), absent_4d, name)
        x = layer_norm(graph, graph.add("Add", x, attended, name=f"{name}_attended"), block.norm1, f"{name}_norm_1")
        wide = graph.add("Relu", linear(graph, x, block.linear1, f"{name}_wide"), name=f"{name}_relu")
        fed = graph.add("Add", x, linear(graph, wide, block.linear2, f"{name}_narrow"), name=f"{name}_fed")
        x = layer_norm(graph, fed, block.norm2, f"{name}_norm_2")
    x = _batch_norm(graph, Frames(x, embedding.counts, embedding.size), network.output_norm, "output_norm")
    scores, columns = [], []
    for name, head in network.heads.items():
        assert isinstance(head, AttentionPool)
        score, column = _attention_pool(graph, x, head, absent, name)
        scores.append(score)
        columns.append(column)
    raw = graph.add("Concat", *columns, name="raw_all_frame_scores", axis=2)
    utterances = graph.add("Concat", *scores, name="raw_scores", axis=1)
    return _on_contract_grid(graph, utterances, Frames(raw, embedding.counts, embedding.size))


def _batch_norm(graph: GraphBuilder, frames: Frames, layer: MaskedBatchNorm, name: str) -> str:
    """Normalise valid frames by the statistics of training, and zero the others."""
    norm = layer.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    offset = norm.bias.double() - norm.running_mean.double() * gain
    x = graph.add("Mul", frames.x, graph.floats(f"{name}_gain", gain.detach()), name=f"{name}_gained")
    x = graph.add("Add", x, graph.floats(f"{name}_offset", offset.detach()), name=f"{name}_shifted")
    return masked(graph, Frames(x, frames.counts, frames.size), name).x


def _positions(graph: GraphBuilder, size: str, units: int) -> str:
    """Sines and cosines of the frame number in turn, float32 (frames, units)."""
    index = graph.add("Range", graph.integer(0), size, graph.integer(1), name="place_index")
    index = graph.add("Cast", index, name="place_number", to=TensorProto.FLOAT)
    index = graph.add("Unsqueeze", index, graph.vector(1), name="place_column")
    rates = torch.exp(torch.arange(0, units, 2) * (-math.log(POSITION_BASE) / units))
    angles = graph.add("Mul", index, graph.floats("place_rates", rates.numpy()), name="place_angles")
    waves = [
        graph.add(
            "Unsqueeze",
            graph.add(wave, angles, name=f"place_{wave.lower()}"),
            graph.vector(2),
            name=f"place_{wave.lower()}_3d",
        )
        for wave in ("Sin", "Cos")
    ]
    pairs = graph.add("Concat", *waves, name="place_pairs", axis=2)
    return graph.add("Reshape", pairs, graph.vector(0, -1), name="places")


def _attention_pool(graph: GraphBuilder, x: str, head: AttentionPool, absent: str, name: str) -> tuple[str, str]:
    """Score utterances, float32 (batch, 1), and frames, float32 (batch, frames, 1)."""
    hidden, energy_layer = head.attention[0], head.attention[3]
    assert isinstance(hidden, nn.Linear)
    assert isinstance(energy_layer, nn.Linear)
    wide = graph.add("Relu", linear(graph, x, hidden, f"{name}_hidden"), name=f"{name}_hidden_relu")
    energy = graph.add("Transpose", linear(graph, wide, energy_layer, f"{name}_energy"), name=f"{name}_energy_row",
                       perm=[0, 2, 1])  # fmt: skip
    shares = graph.add("Softmax", graph.add("Add", energy, absent, name=f"{name}_own_energy"), name=f"{name}_shares",
                       axis=-1)  # fmt: skip
    values = linear(graph, x, head.score, f"{name}_values")
    pooled = graph.add("MatMul", shares, values, name=f"{name}_pooled")
    pooled = graph.add("Squeeze", pooled, graph.vector(2), name=f"{name}_pooled_2d")
    found = []
    for part, value in (("utterance", pooled), ("frame", values)):
        share = graph.add("Sigmoid", value, name=f"{name}_{part}_share")
        share = graph.add("Mul", share, graph.number(head.span), name=f"{name}_{part}_spanned")
        found.append(graph.add("Add", share, graph.number(head.low), name=f"{name}_{part}_on_scale"))
    return found[0], found[1]


def _on_contract_grid(graph: GraphBuilder, scores: str, raw: Frames) -> RawScores:
    """Give each frame of the contract the score of the nearest frame of its item."""
    hop = graph.integer(HOP_SAMPLES)
    ends = {}
    for name, samples in (("size", "sample_count"), ("counts", "lengths")):
        whole = graph.add("Div", samples, hop, name=f"grid_{name}_hops")
        ends[name] = graph.add("Add", whole, graph.integer(1), name=f"grid_{name}")
    index = graph.add("Range", graph.integer(-1), graph.add("Sub", ends["size"], graph.integer(1), name="grid_end"),
                      graph.integer(1), name="grid_before")  # fmt: skip
    last = graph.add("Sub", raw.counts, graph.integer(1), name="grid_last")
    last = graph.add("Unsqueeze", last, graph.vector(1), name="grid_last_2d")
    place = graph.add("Min", graph.add("Max", index, graph.integer(0), name="grid_from_first"), last, name="grid_place")
    frames = take_frames(graph, raw.x, place, "grid")
    return RawScores(scores, frames, frame_mask(graph, ends["counts"], ends["size"], "grid"))
