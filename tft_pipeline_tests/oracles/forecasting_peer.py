"""pytorch-forecasting's modules with the weights of ours, in float64: the same mathematics in other hands."""

import torch
from pytorch_forecasting.models.temporal_fusion_transformer import sub_modules as peer
from torch import nn
from torch.nn import functional

from tft_pipeline.model.attention import CausalAttention
from tft_pipeline.model.layers import GatedResidualNetwork
from tft_pipeline.model.variable_selection import VariableSelection
from tft_pipeline_tests.oracles.model_panels import randomised


def peer_residual_network(module: GatedResidualNetwork) -> nn.Module:
    """Their gated residual network with the weights of `module`."""
    hidden = module.inner.in_features
    other = peer.GatedResidualNetwork(hidden, hidden, hidden, dropout=0.1).double().eval()
    other.fc1.load_state_dict(module.inner.state_dict())
    other.fc2.load_state_dict(module.outer.state_dict())
    other.gate_norm.glu.fc.load_state_dict(module.gate_add_norm.gate.state_dict())
    other.gate_norm.add_norm.norm.load_state_dict(module.gate_add_norm.norm.state_dict())
    return other


def peer_attention(module: CausalAttention) -> nn.Module:
    """Their interpretable attention, one layer a head, with the weights of `module`."""
    other = peer.InterpretableMultiHeadAttention(module.heads, module.heads * module.width).double().eval()
    with torch.no_grad():
        for layers, ours in ((other.q_layers, module.query), (other.k_layers, module.key)):
            for layer, weight, bias in zip(
                layers, ours.weight.split(module.width), ours.bias.split(module.width), strict=True
            ):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
    other.v_layer.load_state_dict(module.value.state_dict())
    other.w_h.load_state_dict(module.output.state_dict())
    return other


@torch.no_grad()
def peer_variable_selection(n_variables: int, hidden: int) -> tuple[nn.Module, VariableSelection]:
    """Theirs with random weights, variables x0, x1, .. of width `hidden`, and ours with the same function.

    Their skip of the joint network interpolates the V * hidden embeddings down to V values; the two neighbours of value v
    are both of variable v, so that it is an affine map of x_v.
    """
    names = [f"x{v}" for v in range(n_variables)]
    other = randomised(peer.VariableSelectionNetwork(dict.fromkeys(names, hidden), hidden, dropout=0.1), seed=1)
    ours = VariableSelection(n_variables, hidden, width=hidden).double().eval()
    slopes = torch.stack([other.prescalers[name].weight[:, 0] for name in names])  # (V, D)
    shifts = torch.stack([other.prescalers[name].bias for name in names])
    for v, name in enumerate(names):
        network = other.single_variable_grns[name]
        first, second, glu = network.fc1, network.fc2, network.gate_norm.glu.fc
        ours.inner[v, :, 0] = first.weight @ slopes[v]
        ours.inner[v, :, 1] = first.weight @ shifts[v] + first.bias
        ours.gate[v] = glu.weight @ second.weight
        ours.gate_bias[v] = glu.weight @ second.bias + glu.bias
        ours.skip[v, :, 0], ours.skip[v, :, 1] = slopes[v], shifts[v]
        ours.norm_weight[v] = network.gate_norm.add_norm.norm.weight
        ours.norm_bias[v] = network.gate_norm.add_norm.norm.bias
    if n_variables > 1:
        joint, network = ours.joint, other.flattened_grn
        blocks = network.fc1.weight.view(-1, n_variables, hidden)
        joint.inner.weight.copy_((blocks * slopes).sum(-1))
        joint.inner.bias.copy_((blocks * shifts).sum((1, 2)) + network.fc1.bias)
        joint.outer.load_state_dict(network.fc2.state_dict())
        joint.gate.load_state_dict(network.gate_norm.glu.fc.state_dict())
        opening = 2.0 * torch.sigmoid(network.resample_norm.mask)
        joint.skip.copy_(_interpolated(slopes) * opening)
        joint.skip_bias.copy_(_interpolated(shifts) * opening)
        joint.skip_norm.load_state_dict(network.resample_norm.norm.state_dict())
        joint.norm.load_state_dict(network.gate_norm.add_norm.norm.state_dict())
    return other, ours


def _interpolated(embeddings: torch.Tensor) -> torch.Tensor:
    """(V, D) -> (V,): the V * D values read at V evenly spaced points."""
    flat = embeddings.reshape(1, 1, -1)
    return functional.interpolate(flat, len(embeddings), mode="linear", align_corners=True).view(-1)
