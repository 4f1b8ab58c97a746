"""Weights of pytorch-forecasting's `TemporalFusionTransformer` into our encoder-decoder network, and back.

One table pairs every parameter of ours with the parameters of theirs that it stacks: ours = stack(theirs).reshape(shape), so
the way back, and the same for gradients, is read from the same table. Not here: the networks.
"""

from collections.abc import Iterator, Mapping

import torch
from pytorch_forecasting import TemporalFusionTransformer
from torch import Tensor

from tft_pipeline.model.encoder_decoder import EncoderDecoderTft, InputNames, SelectedInputs

Pairs = Iterator[tuple[str, list[str]]]


def from_pytorch_forecasting(model: TemporalFusionTransformer) -> EncoderDecoderTft:
    """A network of ours with the weights, the precision and the mode of theirs; outputs equal theirs.

    `model.output_transformer` and target scales are not part of it: ours returns what its `output_layer` returns.

    Raises:
        ValueError: an option that ours does not have, by name.
    """
    network = EncoderDecoderTft(
        input_names(model),
        hidden=model.hparams.hidden_size,
        width=model.hparams.hidden_continuous_size,
        heads=model.hparams.attention_head_size,
        lstm_layers=model.hparams.lstm_layers,
        dropout=model.hparams.dropout,
        n_outputs=model.output_layer.out_features,
    )
    network.to(next(model.parameters())).train(model.training)
    network.load_state_dict(stacked(network, model.state_dict()))
    return network


def to_pytorch_forecasting(network: EncoderDecoderTft, model: TemporalFusionTransformer) -> None:
    """Copy our weights into a model of theirs that has the same inputs and sizes.

    Raises:
        ValueError: other inputs or sizes.
    """
    if input_names(model) != network.names:
        raise ValueError(
            f"inputs differ: ours {network.names}, theirs {input_names(model)}: weights would go to other variables; build the "
            "model with the same inputs in the same order"
        )
    theirs = dict(model.named_parameters())
    parts: dict[str, Tensor] = {}
    for _, value, names in _pairs_of_tensors(network):
        parts |= zip(names, value.detach().reshape(len(names), -1), strict=True)
    wrong = sorted(theirs.keys() ^ parts.keys())
    wrong += [name for name in theirs.keys() & parts.keys() if theirs[name].numel() != parts[name].numel()]
    if wrong:
        raise ValueError(
            f"{len(wrong)} parameters have no counterpart of their size, {wrong[0]} for one: the model would be a mixture of "
            "two; build the model with our sizes, heads and LSTM layers; nothing was copied"
        )
    with torch.no_grad():
        for name, part in parts.items():
            theirs[name].copy_(part.view_as(theirs[name]))


def stacked(network: EncoderDecoderTft, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under their parameters' names (weights, or gradients) under the names and shapes of ours."""
    return {
        ours: torch.stack([theirs[name] for name in names]).reshape(value.shape)
        for ours, value, names in _pairs_of_tensors(network)
    }


def input_names(model: TemporalFusionTransformer) -> InputNames:
    """The inputs of a model of theirs.

    Raises:
        ValueError: an option that ours does not have, by name.
    """
    settings = model.hparams
    refused = {
        "share_single_variable_networks": settings.share_single_variable_networks,
        "categorical_groups": settings.categorical_groups,
        "hidden_continuous_sizes": settings.hidden_continuous_sizes,
        "causal_attention=False": not settings.causal_attention,
        "several targets": model.n_targets > 1,
    }
    found = [name for name, is_set in refused.items() if is_set]
    if found:
        raise ValueError(
            f"the model uses {', '.join(found)}, which this network does not have: its outputs would differ; build the model "
            "without"
        )
    sizes = model.input_embeddings.embedding_sizes
    used = set(model.reals)
    return InputNames(
        reals=tuple(name for name in settings.x_reals if name in used),
        categoricals=tuple(settings.x_categoricals),
        levels=tuple((sizes[name][0], sizes[name][1]) for name in settings.x_categoricals),
        static_reals=tuple(settings.static_reals),
        static_categoricals=tuple(settings.static_categoricals),
        encoder_reals=tuple(settings.time_varying_reals_encoder),
        encoder_categoricals=tuple(settings.time_varying_categoricals_encoder),
        decoder_reals=tuple(settings.time_varying_reals_decoder),
        decoder_categoricals=tuple(settings.time_varying_categoricals_decoder),
    )


def _pairs_of_tensors(network: EncoderDecoderTft) -> Iterator[tuple[str, Tensor, list[str]]]:
    """(our name, our tensor, their names) of every parameter; a parameter left out of the table is an error."""
    ours = dict(network.named_parameters())
    for name, theirs in _pairs(network):
        yield name, ours.pop(name), theirs
    if ours:
        raise ValueError(f"no counterpart is known for {sorted(ours)}")


def _pairs(network: EncoderDecoderTft) -> Pairs:
    names = network.names
    for part in ("weight", "bias"):
        if names.reals:
            yield (
                f"embedding.{'scale' if part == 'weight' else 'shift'}",
                [f"prescalers.{r}.{part}" for r in names.reals],
            )
        for i, layer in enumerate(("query", "key")):
            stacks = [f"multihead_attn.{'qk'[i]}_layers.{m}.{part}" for m in range(network.heads)]
            yield f"fusion.attention.{layer}.{part}", stacks
        yield f"fusion.attention.value.{part}", [f"multihead_attn.v_layer.{part}"]
        yield f"output.{part}", [f"output_layer.{part}"]
        yield f"fusion.after_lstm.gate.{part}", [f"post_lstm_gate_encoder.fc.{part}"]
        yield f"fusion.after_lstm.norm.{part}", [f"post_lstm_add_norm_encoder.norm.{part}"]
    yield "fusion.attention.output.weight", ["multihead_attn.w_h.weight"]
    for c, name in enumerate(names.categoricals):
        yield f"embedding.tables.{c}.weight", [f"input_embeddings.embeddings.{name}.weight"]
    selections = (
        ("static", network.static, names.static_categoricals, names.static_reals),
        ("encoder", network.encoder, names.encoder_categoricals, names.encoder_reals),
        ("decoder", network.decoder, names.decoder_categoricals, names.decoder_reals),
    )
    for part, inputs, categoricals, reals in selections:
        yield from _selection(f"{part}.selection", f"{part}_variable_selection", inputs, categoricals, reals)
    contexts = {
        "selection": "static_context_variable_selection",
        "hidden": "static_context_initial_hidden_lstm",
        "cell": "static_context_initial_cell_lstm",
        "enrichment": "static_context_enrichment",
    }
    for ours, theirs in contexts.items():
        yield from _residual_network(f"static_encoder.{ours}", theirs)
    for lstm in ("lstm_encoder", "lstm_decoder"):
        yield from ((f"{lstm}.{name}", [f"{lstm}.{name}"]) for name, _ in getattr(network, lstm).named_parameters())
    yield from _residual_network("fusion.enrichment", "static_enrichment", context=True)
    yield from _gate_add_norm("fusion.after_attention", "post_attn_gate_norm")
    yield from _residual_network("fusion.position_wise", "pos_wise_ff")
    yield from _gate_add_norm("fusion.before_head", "pre_output_gate_norm")


def _selection(
    ours: str, theirs: str, inputs: SelectedInputs, categoricals: tuple[str, ...], reals: tuple[str, ...]
) -> Pairs:
    selection = inputs.selection
    if selection is None:
        return
    for c, name in enumerate(categoricals):
        yield from _resample_norm(f"{ours}.categories.{c}", f"{theirs}.single_variable_grns.{name}")
    if selection.reals is not None:
        parts = {
            "inner_{}": "fc1.{}",
            "outer_{}": "fc2.{}",
            "gate_{}": "gate_norm.glu.fc.{}",
            "norm_{}": "gate_norm.add_norm.norm.{}",
        }
        if selection.reals.resamples:
            parts |= {"skip_norm_{}": "resample_norm.norm.{}"}
            yield (
                f"{ours}.reals.opening",
                [f"{theirs}.single_variable_grns.{name}.resample_norm.mask" for name in reals],
            )
        for own, other in parts.items():
            for part in ("weight", "bias"):
                stacks = [f"{theirs}.single_variable_grns.{name}.{other.format(part)}" for name in reals]
                yield f"{ours}.reals.{own.format(part)}", stacks
    if selection.joint is not None:
        own, other = f"{ours}.joint", f"{theirs}.flattened_grn"
        if selection.joint.context is not None:
            yield f"{own}.context.weight", [f"{other}.context.weight"]
        if selection.joint.skip is not None:
            yield from _resample_norm(f"{own}.skip", f"{other}.resample_norm")
        yield from _layers(own, other, {"inner": "fc1", "outer": "fc2"})
        yield from _layers(own, f"{other}.gate_norm", {"gate": "glu.fc", "norm": "add_norm.norm"})


def _residual_network(ours: str, theirs: str, *, context: bool = False) -> Pairs:
    yield from _layers(ours, theirs, {"inner": "fc1", "outer": "fc2"})
    yield from _gate_add_norm(f"{ours}.gate_add_norm", f"{theirs}.gate_norm")
    if context:
        yield f"{ours}.context.weight", [f"{theirs}.context.weight"]


def _gate_add_norm(ours: str, theirs: str) -> Pairs:
    yield from _layers(ours, theirs, {"gate": "glu.fc", "norm": "add_norm.norm"})


def _resample_norm(ours: str, theirs: str) -> Pairs:
    yield f"{ours}.opening", [f"{theirs}.mask"]
    yield from _layers(ours, theirs, {"norm": "norm"})


def _layers(ours: str, theirs: str, names: dict[str, str]) -> Pairs:
    for own, other in names.items():
        for part in ("weight", "bias"):
            yield f"{ours}.{own}.{part}", [f"{theirs}.{other}.{part}"]
