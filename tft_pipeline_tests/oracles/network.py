"""The network one token, one variable and one head at a time, in numpy float64, from the paper's formulas."""

import math

import numpy as np

EPSILON = 1e-5

Weights = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def elu(x: np.ndarray) -> np.ndarray:
    """x above zero, exp(x) - 1 below."""
    return np.array([value if value > 0 else math.exp(value) - 1.0 for value in x])


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(H,) -> (H,), population variance."""
    return (x - x.mean()) / math.sqrt(x.var() + EPSILON) * weight + bias


def gated_linear_unit(x: np.ndarray) -> np.ndarray:
    """(2H,) -> (H,): the first half times the sigmoid of the second."""
    half = len(x) // 2
    return x[:half] * sigmoid(x[half:])


def part(weights: Weights, prefix: str) -> Weights:
    """Entries under `prefix.`, without it."""
    return {name.removeprefix(prefix + "."): value for name, value in weights.items() if name.startswith(prefix + ".")}


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """W x + b of a torch layer; no b where it has none."""
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def gate_add_norm(weights: Weights, x: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """LayerNorm(skip + GLU(W x + b)) of one token."""
    return layer_norm(
        skip + gated_linear_unit(linear(weights, "gate", x)), weights["norm.weight"], weights["norm.bias"]
    )


def gated_residual_network(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Of one token."""
    branch = linear(weights, "outer", elu(linear(weights, "inner", x)))
    return gate_add_norm(part(weights, "gate_add_norm"), branch, x)


def variable_weights(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Softmax weights (V,) of one token's x (V,)."""
    branch = linear(weights, "outer", elu(linear(weights, "inner", x)))
    skip = layer_norm(
        weights["skip"] * x + weights["skip_bias"], weights["skip_norm.weight"], weights["skip_norm.bias"]
    )
    gated = gated_linear_unit(linear(weights, "gate", branch))
    logits = layer_norm(skip + gated, weights["norm.weight"], weights["norm.bias"])
    return np.exp(logits) / np.exp(logits).sum()


def variable_selection(weights: Weights, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One token's x (V,) -> selected (H,), weights (V,): one variable after another."""
    chosen = variable_weights(part(weights, "joint"), x)
    selected = np.zeros(weights["norm_weight"].shape[1])
    for v, value in enumerate(x):
        h = elu(weights["inner"][v, :, 0] * value + weights["inner"][v, :, 1])
        gated = gated_linear_unit(weights["gate"][v] @ h + weights["gate_bias"][v])
        skip = weights["skip"][v, :, 0] * value + weights["skip"][v, :, 1]
        selected += chosen[v] * layer_norm(gated + skip, weights["norm_weight"][v], weights["norm_bias"][v])
    return selected, chosen


def attention(weights: Weights, x: np.ndarray, observed: np.ndarray, heads: int) -> np.ndarray:
    """x (T, H), observed (T,) -> (T, H): bar by bar, head by head; a bar sees observed bars up to itself, and itself."""
    T, H = x.shape
    D = H // heads
    out = np.zeros((T, H))
    for t in range(T):
        seen = [k for k in range(t + 1) if observed[k] or k == t]
        mixed = np.zeros(D)
        for m in range(heads):
            rows = slice(m * D, (m + 1) * D)
            query = linear(weights, "query", x[t])[rows]
            scores = np.array([query @ linear(weights, "key", x[k])[rows] / math.sqrt(D) for k in seen])
            share = np.exp(scores - scores.max())
            share /= share.sum()
            for k, a in zip(seen, share, strict=True):
                mixed += a * linear(weights, "value", x[k]) / heads
        out[t] = linear(weights, "output", mixed)
    return out


def lstm(weights: Weights, x: np.ndarray, layers: int) -> np.ndarray:
    """x (T, H) -> (T, H) from zero states; gates in the order input, forget, cell, output."""
    for layer in range(layers):
        H = weights[f"weight_hh_l{layer}"].shape[1]
        h, c, out = np.zeros(H), np.zeros(H), []
        for row in x:
            gates = weights[f"weight_ih_l{layer}"] @ row + weights[f"bias_ih_l{layer}"]
            gates = gates + weights[f"weight_hh_l{layer}"] @ h + weights[f"bias_hh_l{layer}"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        x = np.array(out)
    return x


def gaussian_head(weights: Weights, hidden: np.ndarray) -> tuple[float, float, float]:
    """Position, mean and log scale of one token."""
    mean, free = linear(weights, "output", hidden)
    log_scale = 4.0 * math.tanh(free / 4.0)
    correction = linear(weights, "correction", elu(linear(weights, "inner", np.array([mean, log_scale]))))[0]
    return math.tanh(mean / math.exp(log_scale) + correction), float(mean), log_scale


def window(
    weights: Weights, values: np.ndarray, observed: np.ndarray, *, heads: int, layers: int
) -> tuple[np.ndarray, np.ndarray]:
    """values (T, V), observed (T,) -> (T, 3) position, mean, log scale, and (T, V) weights; joint_mle head."""
    pairs = [variable_selection(part(weights, "selection"), row) for row in values]
    selected = np.array([chosen if seen else 0.0 * chosen for (chosen, _), seen in zip(pairs, observed, strict=True)])
    recurrent = lstm(part(weights, "lstm"), selected, layers)
    T = len(values)
    temporal = np.array([gate_add_norm(part(weights, "after_lstm"), recurrent[t], selected[t]) for t in range(T)])
    enriched = np.array([gated_residual_network(part(weights, "enrichment"), row) for row in temporal])
    attended = attention(part(weights, "attention"), enriched, observed, heads)
    outputs = []
    for t in range(T):
        mixed = gate_add_norm(part(weights, "after_attention"), attended[t], enriched[t])
        deep = gated_residual_network(part(weights, "position_wise"), mixed)
        outputs.append(
            gaussian_head(part(weights, "head"), gate_add_norm(part(weights, "before_head"), deep, temporal[t]))
        )
    return np.array(outputs), np.array([share for _, share in pairs])
