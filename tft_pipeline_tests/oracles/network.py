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


def gated_residual_network(weights: Weights, x: np.ndarray, context: np.ndarray | None = None) -> np.ndarray:
    """Of one token."""
    before = linear(weights, "inner", x)
    if context is not None:
        before = before + linear(weights, "context", context)
    branch = linear(weights, "outer", elu(before))
    return gate_add_norm(part(weights, "gate_add_norm"), branch, x)


def resample(x: np.ndarray, size: int) -> np.ndarray:
    """(width,) -> (size,): linear interpolation, first on first, last on last."""
    if len(x) == size:
        return x
    if size == 1:
        return x[:1]
    return np.interp(np.linspace(0.0, len(x) - 1.0, size), np.arange(len(x)), x)


def resample_norm(x: np.ndarray, opening: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """LayerNorm(2 sigmoid(opening) * resampled x)."""
    return layer_norm(resample(x, len(opening)) * 2.0 * sigmoid(opening), weight, bias)


def variable_weights(weights: Weights, embeddings: list[np.ndarray], context: np.ndarray | None) -> np.ndarray:
    """Softmax weights (V,) of one token's embeddings."""
    every = np.concatenate(embeddings)
    before = linear(weights, "inner", every)
    if context is not None:
        before = before + linear(weights, "context", context)
    branch = linear(weights, "outer", elu(before))
    skip = every
    if "skip.opening" in weights:
        skip = resample_norm(every, weights["skip.opening"], weights["skip.norm.weight"], weights["skip.norm.bias"])
    gated = gated_linear_unit(linear(weights, "gate", branch))
    logits = layer_norm(skip + gated, weights["norm.weight"], weights["norm.bias"])
    return np.exp(logits) / np.exp(logits).sum()


def real_variable(weights: Weights, v: int, embedding: np.ndarray) -> np.ndarray:
    """Network of real variable v on its embedding -> (H,)."""
    h = elu(weights["inner_weight"][v] @ embedding + weights["inner_bias"][v])
    branch = weights["outer_weight"][v] @ h + weights["outer_bias"][v]
    gated = gated_linear_unit(weights["gate_weight"][v] @ branch + weights["gate_bias"][v])
    skip = embedding
    if "opening" in weights:
        skip = resample_norm(
            embedding, weights["opening"][v], weights["skip_norm_weight"][v], weights["skip_norm_bias"][v]
        )
    return layer_norm(gated + skip, weights["norm_weight"][v], weights["norm_bias"][v])


def variable_selection(
    weights: Weights,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    categories: list[np.ndarray] | None = None,
    context: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One token's x (R,) and embedded categories -> selected (H,), weights (V,): one variable after another."""
    vectors = categories or []
    embeddings = [*vectors, *(scale[v] * value + shift[v] for v, value in enumerate(x))]
    chosen = np.ones(1)
    if len(embeddings) > 1:
        chosen = variable_weights(part(weights, "joint"), embeddings, context)
    outputs = []
    for c, vector in enumerate(vectors):
        own = part(weights, f"categories.{c}")
        outputs.append(resample_norm(vector, own["opening"], own["norm.weight"], own["norm.bias"]))
    outputs += [real_variable(part(weights, "reals"), v, e) for v, e in enumerate(embeddings[len(vectors) :])]
    return sum(share * output for share, output in zip(chosen, outputs, strict=True)), chosen


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


def lstm(
    weights: Weights, x: np.ndarray, layers: int, states: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """x (T, H) -> (T, H) from zero states, or from the same (h, c) in every layer; gates input, forget, cell, output."""
    for layer in range(layers):
        H = weights[f"weight_hh_l{layer}"].shape[1]
        h, c = (np.zeros(H), np.zeros(H)) if states is None else states
        out = []
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


def static_contexts(weights: Weights, level: int) -> Weights:
    """The four contexts of one symbol level, by name."""
    vector = weights["embedding.tables.0.weight"][level]
    own = part(weights, "static_selection.categories.0")
    static = resample_norm(vector, own["opening"], own["norm.weight"], own["norm.bias"])
    names = ("selection", "hidden", "cell", "enrichment")
    return {name: gated_residual_network(part(weights, f"static_encoder.{name}"), static) for name in names}


def window(
    weights: Weights, values: np.ndarray, observed: np.ndarray, *, heads: int, layers: int, level: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """values (T, V), observed (T,) -> (T, 3) position, mean, log scale, and (T, V) weights; joint_mle head."""
    contexts = {} if level is None else static_contexts(weights, level)
    scale, shift = weights["embedding.scale"], weights["embedding.shift"]
    pairs = [
        variable_selection(part(weights, "selection"), row, scale, shift, context=contexts.get("selection"))
        for row in values
    ]
    selected = np.array([chosen if seen else 0.0 * chosen for (chosen, _), seen in zip(pairs, observed, strict=True)])
    states = None if level is None else (contexts["hidden"], contexts["cell"])
    recurrent = lstm(part(weights, "lstm"), selected, layers, states)
    T = len(values)
    fusion = part(weights, "fusion")
    temporal = np.array([gate_add_norm(part(fusion, "after_lstm"), recurrent[t], selected[t]) for t in range(T)])
    enrichment = part(fusion, "enrichment")
    enriched = np.array([gated_residual_network(enrichment, row, contexts.get("enrichment")) for row in temporal])
    attended = attention(part(fusion, "attention"), enriched, observed, heads)
    outputs = []
    for t in range(T):
        mixed = gate_add_norm(part(fusion, "after_attention"), attended[t], enriched[t])
        deep = gated_residual_network(part(fusion, "position_wise"), mixed)
        outputs.append(
            gaussian_head(part(weights, "head"), gate_add_norm(part(fusion, "before_head"), deep, temporal[t]))
        )
    return np.array(outputs), np.array([share for _, share in pairs])
