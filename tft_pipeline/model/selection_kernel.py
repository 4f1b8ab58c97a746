"""Weighted sum of all variables' gated residual networks, as one differentiable function over cache-sized chunks.

Axes: N tokens, V variables, C variables of a chunk, n tokens of a chunk, D inner width, H hidden. Inside, tokens come last:
every map of a variable is then a small matrix times (., n), and every broadcast runs along contiguous memory. For a
variable x with weight w

    h = ELU(k x + l) + 1,  a = A [h; 1],  b = tanh(B [h; 1]),  y = a (1 + b) + S basis(x),  z = LayerNorm(y)
    selected = sum over variables of w (gamma z + beta)

where a (1 + b) is GLU(2a, 2 atanh b): sigmoid(2t) = (1 + tanh t) / 2, and the skip is a linear map of a few functions of x,
[x; 1] or, where it is normalised by its own deviation s(x), [x / s(x); 1 / s(x); 1]. Nothing of size N V H is kept for the
backward pass: it computes h, a, b, y again, chunk by chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TOKENS_A_CHUNK = 1_024
VARIABLES_A_CHUNK = 8
"""Of a full chunk of tokens; fewer tokens take more variables together."""
NORM_EPSILON = 1e-5


class WeightedVariables(torch.autograd.Function):
    """selected (N, H) from x (N, V), weights (N, V), basis (V, K, N) and the variables' parameters; x gets no gradient.

    basis is None for [x; 1]. Parameters: inner (V, D, 2) = [k, l]; value (V, H, D+1) = A; gate (V, H, D+1) = B; skip
    (V, H, K) = S with mean zero over H, which changes nothing behind a LayerNorm and keeps its variance exact; gamma (V, H);
    beta (V, H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        basis: Tensor | None,
        inner: Tensor,
        value: Tensor,
        gate: Tensor,
        skip: Tensor,
        gamma: Tensor,
        beta: Tensor,
    ) -> Tensor:
        """Sum over variables, chunk by chunk."""
        N, V = x.shape
        (_, D, _), H = inner.shape, gamma.shape[1]
        C = _variables_a_chunk(N)
        parts = [p.split(C) for p in (inner, value, gate, skip)]
        diagonals = [_centred_diagonals(part) for part in gamma.split(C)]
        selected = weights @ beta  # (N, H)
        means, inverses = x.new_empty(V, N), x.new_empty(V, N)
        room = _Workspace(x, {"before": D, "h": D + 1, "slope": D, "a": H, "b": H, "y": H})
        for tokens in _slices(N):
            lines, wt = _with_ones(x[tokens].t()), weights[tokens].t().contiguous()  # (V, 2, n), (V, n)
            total = x.new_zeros(H, wt.shape[1])
            spans = lines if basis is None else basis[..., tokens]  # (V, K, n)
            rows = (t.split(C) for t in (lines, spans, wt, means[:, tokens], inverses[:, tokens]))
            for x1, span, w, mean, inverse, k, A, B, r, diagonal in zip(*rows, *parts, diagonals, strict=True):
                _, _, a, _, y = _networks(room, x1, span, k, A, B, r)  # (C, H, n)
                torch.mean(y, 1, out=mean)
                squares = torch.mul(y, y, out=a)
                variance = squares.mean(1).addcmul_(mean, mean, value=-1.0).clamp_(min=0.0)
                torch.rsqrt(variance.add_(NORM_EPSILON), out=inverse)
                y.mul_((w * inverse).unsqueeze(1))
                total.addmm_(diagonal, y.view(-1, y.shape[-1]))
            selected[tokens] += total.t()
        ctx.save_for_backward(x, weights, basis, inner, value, gate, skip, gamma, beta, means, inverses)
        return selected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weights, basis and parameters; see the module's formulas."""
        x, weights, basis, inner, value, gate, skip, gamma, beta, means, inverses = ctx.saved_tensors
        (_, D, _), H = inner.shape, gamma.shape[1]
        grad = grad.contiguous()
        d_weights = grad @ beta.t()  # (N, V)
        d_basis = torch.empty_like(basis) if ctx.needs_input_grad[2] else None
        # gradients of the maps with their last two axes exchanged: these products read long rows
        turned = [p.new_zeros(p.shape[0], p.shape[2], p.shape[1]) for p in (inner, value, gate, skip)]
        d_gamma = torch.zeros_like(gamma)
        maps = torch.cat((value, gate), dim=1)[:, :, :D].transpose(1, 2).contiguous()  # (V, D, 2H)
        fixed = (inner, value, gate, skip, gamma, maps, *turned, d_gamma)
        C = _variables_a_chunk(len(x))
        parts = [p.split(C) for p in fixed]
        buffers = {"before": D, "h": D + 1, "slope": D, "a": H, "b": H, "y": H, "product": H, "d_ab": 2 * H, "dh": D}
        room = _Workspace(x, buffers)
        for tokens in _slices(x.shape[0]):
            lines, wt = _with_ones(x[tokens].t()), weights[tokens].t().contiguous()  # (V, 2, n), (V, n)
            out = grad[tokens].t().contiguous()  # (H, n)
            alpha = gamma @ out  # (V, n)
            d_wt = torch.empty_like(wt)
            spans = lines if basis is None else basis[..., tokens]  # (V, K, n)
            d_spans = torch.empty_like(spans) if d_basis is not None else spans
            varying = (lines, spans, d_spans, wt, alpha, d_wt, means[:, tokens], inverses[:, tokens])
            rows = (t.split(C) for t in varying)
            for x1, span, d_span, w, al, s, mean, inverse, k, A, B, r, gam, back, dk, dA, dB, dr, dgam in zip(
                *rows, *parts, strict=True
            ):
                h, slope, a, b, y = _networks(room, x1, span, k, A, B, r)
                q = w * inverse  # (C, n)
                product = torch.mul(y, out, out=room.take("product", y))  # (C, H, n)
                # s = sum_h gamma dO z, the weight's gradient
                torch.bmm(gam.unsqueeze(1), product, out=s.unsqueeze(1))
                s.addcmul_(mean, al, value=-1.0).mul_(inverse)
                dgam += torch.bmm(q.unsqueeze(1), product.transpose(1, 2)).squeeze(1)
                dgam -= (q * mean) @ out.t()
                # dy = q (gamma dO - mean_h(gamma dO) - z s / H)
                pull = (s * inverse).mul_(-1.0 / H)
                level = al.mul(-1.0 / H).addcmul_(pull, mean, value=-1.0)
                dy = torch.mul(y, pull.unsqueeze(1), out=product)
                dy.addcmul_(gam.unsqueeze(-1), out).add_(level.unsqueeze(1)).mul_(q.unsqueeze(1))
                dr.baddbmm_(span, dy.transpose(1, 2))
                if d_basis is not None:
                    torch.bmm(r.transpose(1, 2), dy, out=d_span)
                d_ab = room.take("d_ab", y)
                da, db = d_ab[:, :H], d_ab[:, H:]
                torch.addcmul(dy, dy, b, out=da)  # dy (1 + b)
                torch.addcmul(a, a, b, value=-1.0, out=db).mul_(da)  # dy a (1 - b^2)
                dA.baddbmm_(h, da.transpose(1, 2))
                dB.baddbmm_(h, db.transpose(1, 2))
                dh = torch.bmm(back, d_ab, out=room.take("dh", y)).mul_(slope)  # (C, D, n)
                dk.baddbmm_(x1, dh.transpose(1, 2))
            d_weights[tokens] += d_wt.t()
            if d_basis is not None:
                d_basis[..., tokens] = d_spans
        return None, d_weights, d_basis, *(d.transpose(1, 2) for d in turned), d_gamma, weights.t() @ grad


class _Workspace:
    """Buffers that every chunk reuses: fresh memory for each product would cost more than the product."""

    def __init__(self, like: Tensor, rows: dict[str, int]) -> None:
        size = min(_variables_a_chunk(len(like)), like.shape[1]) * min(TOKENS_A_CHUNK, like.shape[0])
        self.rows = rows
        self.buffers = {name: like.new_empty(size * n_rows) for name, n_rows in rows.items()}

    def take(self, name: str, chunk: Tensor) -> Tensor:
        """The named buffer as (C, rows, n) for a chunk (C, ., n)."""
        C, n = chunk.shape[0], chunk.shape[2]
        return self.buffers[name][: C * self.rows[name] * n].view(C, self.rows[name], n)


def _networks(
    room: _Workspace, lines: Tensor, basis: Tensor, inner: Tensor, value: Tensor, gate: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """lines (C, 2, n) = [x; 1], basis (C, K, n) -> [h; 1] (C, D+1, n), dELU (C, D, n), a, b, y (C, H, n), in the workspace."""
    slope, h = room.take("slope", lines), room.take("h", lines)
    D = slope.shape[1]
    before = torch.bmm(inner, lines, out=room.take("before", lines))  # (C, D, n)
    torch.clamp(before, max=0.0, out=slope).exp_()
    torch.add(before.clamp_(min=0.0), slope, out=h[:, :D])
    h[:, D] = 1.0
    a = torch.bmm(value, h, out=room.take("a", lines))
    b = torch.bmm(gate, h, out=room.take("b", lines)).tanh_()
    y = torch.addcmul(a, a, b, out=room.take("y", lines)).baddbmm_(skip, basis)
    return h, slope, a, b, y


def _with_ones(x: Tensor) -> Tensor:
    """(V, n) -> (V, 2, n) = [x; 1]."""
    lines = x.new_empty(x.shape[0], 2, x.shape[1])
    lines[:, 0] = x
    lines[:, 1] = 1.0
    return lines


def _centred_diagonals(gamma: Tensor) -> Tensor:
    """gamma (C, H) -> (H, C H): [diag(gamma_c) (I - 11'/H)] side by side, centring, scaling and the sum over variables."""
    H = gamma.shape[1]
    centring = torch.eye(H, dtype=gamma.dtype, device=gamma.device) - 1.0 / H
    return (gamma.unsqueeze(-1) * centring).transpose(0, 1).reshape(H, -1)


def _variables_a_chunk(n_tokens: int) -> int:
    return VARIABLES_A_CHUNK * TOKENS_A_CHUNK // max(min(n_tokens, TOKENS_A_CHUNK), 1)


def _slices(length: int) -> list[slice]:
    return [slice(start, min(start + TOKENS_A_CHUNK, length)) for start in range(0, length, TOKENS_A_CHUNK)]
