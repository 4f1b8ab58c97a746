"""Weighted sum of all variables' gated residual networks, as one differentiable function over cache-sized chunks.

Axes: N tokens, V variables, C variables of a chunk, n tokens of a chunk, D inner width, H hidden, K functions of the skip's
basis. Inside, tokens come last: every map of a variable is then a small matrix times (., n), and every broadcast runs along
contiguous memory. For a variable x with weight w

    h = ELU(k x + l),  y = GLU(M [h; 1]) + S basis(x),  z = LayerNorm(y),  selected = sum over variables of w (gamma z + beta)

where the skip is a linear map of a few functions of x, [x; 1] or, where it is normalised by its own deviation s(x),
[x / s(x); 1 / s(x); 1]. Few tokens keep h, M [h; 1] and y for the backward pass; many compute them again, chunk by chunk, so
that nothing of size N V H stays in memory.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten  # gates that write into a given tensor
TOKENS_A_CHUNK = 1_024
VARIABLES_A_CHUNK = 8
"""Of a full chunk of tokens; fewer tokens take more variables together."""
KEPT_TOKENS = 512
"""Up to so many tokens the intermediates are kept: 54 MB a network of 73 variables and H = 48."""
NORM_EPSILON = 1e-5


class _Networks(NamedTuple):
    """Of one chunk: h (C, D+1, n) = [h; 1], halves (C, 2H, n) = M [h; 1], y (C, H, n)."""

    h: Tensor
    halves: Tensor
    y: Tensor


class WeightedVariables(torch.autograd.Function):
    """selected (N, H) from x (N, V), weights (N, V), basis (V, K, N) and the variables' parameters; x gets no gradient.

    basis is None for [x; 1]. Parameters: inner (V, D, 2) = [k, l]; maps (V, 2H, D+1) = M; skip (V, H, K) = S with mean zero
    over H, which changes nothing behind a LayerNorm and keeps its variance exact; gamma (V, H); beta (V, H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor,
        basis: Tensor | None,
        inner: Tensor,
        maps: Tensor,
        skip: Tensor,
        gamma: Tensor,
        beta: Tensor,
    ) -> Tensor:
        """Sum over variables, chunk by chunk."""
        N, V = x.shape
        C = _variables_a_chunk(N)
        parts = [p.split(C) for p in (inner, maps, skip, gamma)]
        selected = weights @ beta  # (N, H)
        means, inverses = x.new_empty(V, N), x.new_empty(V, N)
        room = _Workspace(x, inner.shape[1], gamma.shape[1])
        ctx.kept = [] if N <= KEPT_TOKENS and any(ctx.needs_input_grad) else None
        for tokens in _slices(N):
            lines, wt = _with_ones(x[tokens].t()), weights[tokens].t().contiguous()  # (V, 2, n), (V, n)
            total = x.new_zeros(gamma.shape[1], wt.shape[1])
            spans = lines if basis is None else basis[..., tokens]  # (V, K, n)
            rows = (t.split(C) for t in (lines, spans, wt, means[:, tokens], inverses[:, tokens]))
            for x1, span, w, mean, inverse, k, M, S, gam in zip(*rows, *parts, strict=True):
                if ctx.kept is not None:
                    room = _Workspace(x1, inner.shape[1], gamma.shape[1], variables=len(x1))
                networks = _networks(room, x1, span, k, M, S)
                y = networks.y  # (C, H, n)
                if ctx.kept is not None:
                    ctx.kept.append(networks)
                torch.mean(y, 1, out=mean)
                scaled = torch.mul(y, y, out=room.take("scaled", y))
                variance = scaled.mean(1).addcmul_(mean, mean, value=-1.0).clamp_(min=0.0)
                torch.rsqrt(variance.add_(NORM_EPSILON), out=inverse)
                q = w * inverse  # (C, n)
                torch.mul(y, q.unsqueeze(1), out=scaled).mul_(gam.unsqueeze(-1))
                total += scaled.sum(0)
                total.addmm_(gam.t(), q.mul_(mean), alpha=-1.0)
            selected[tokens] += total.t()
        ctx.save_for_backward(x, weights, basis, inner, maps, skip, gamma, beta, means, inverses)
        return selected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weights, basis and parameters; see the module's formulas."""
        x, weights, basis, inner, maps, skip, gamma, beta, means, inverses = ctx.saved_tensors
        D, H = inner.shape[1], gamma.shape[1]
        grad = grad.contiguous()
        d_weights = grad @ beta.t()  # (N, V)
        d_basis = torch.empty_like(basis) if ctx.needs_input_grad[2] else None
        # gradients of the maps with their last two axes exchanged: these products read long rows
        turned = [p.new_zeros(p.shape[0], p.shape[2], p.shape[1]) for p in (inner, maps, skip)]
        d_gamma = torch.zeros_like(gamma)
        back = maps[:, :, :D].transpose(1, 2).contiguous()  # (V, D, 2H)
        C = _variables_a_chunk(len(x))
        parts = [p.split(C) for p in (inner, maps, skip, gamma, back, *turned, d_gamma)]
        room = _Workspace(x, D, H)
        kept: Iterator[_Networks] | None = None if ctx.kept is None else iter(ctx.kept)
        for tokens in _slices(x.shape[0]):
            lines, wt = _with_ones(x[tokens].t()), weights[tokens].t().contiguous()  # (V, 2, n), (V, n)
            out = grad[tokens].t().contiguous()  # (H, n)
            alpha = gamma @ out  # (V, n)
            d_wt = torch.empty_like(wt)
            spans = lines if basis is None else basis[..., tokens]  # (V, K, n)
            d_spans = torch.empty_like(spans) if d_basis is not None else spans
            varying = (lines, spans, d_spans, wt, alpha, d_wt, means[:, tokens], inverses[:, tokens])
            rows = (t.split(C) for t in varying)
            for x1, span, d_span, w, al, s, mean, inverse, k, M, S, gam, turn, dk, dM, dS, dgam in zip(
                *rows, *parts, strict=True
            ):
                h, halves, y = _networks(room, x1, span, k, M, S) if kept is None else next(kept)
                q = w * inverse  # (C, n)
                product = torch.mul(y, out, out=room.take("scaled", y))  # (C, H, n)
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
                dS.baddbmm_(span, dy.transpose(1, 2))
                if d_basis is not None:
                    torch.bmm(S.transpose(1, 2), dy, out=d_span)
                d_halves = aten.glu_backward.grad_input(dy, halves, 1, grad_input=room.take("d_halves", y))
                dM.baddbmm_(h, d_halves.transpose(1, 2))
                dh = torch.bmm(turn, d_halves, out=room.take("dh", y))  # (C, D, n)
                aten.elu_backward.grad_input(dh, 1.0, 1.0, 1.0, True, h[:, :D], grad_input=dh)
                dk.baddbmm_(x1, dh.transpose(1, 2))
            d_weights[tokens] += d_wt.t()
            if d_basis is not None:
                d_basis[..., tokens] = d_spans
        ctx.kept = None
        return None, d_weights, d_basis, *(d.transpose(1, 2) for d in turned), d_gamma, weights.t() @ grad


class _Workspace:
    """Buffers that every chunk reuses: fresh memory for each product would cost more than the product."""

    def __init__(self, like: Tensor, D: int, H: int, *, variables: int | None = None) -> None:
        """For chunks of `like` (N, V), or for the one chunk `like` (C, ., n) with `variables` C."""
        size = min(_variables_a_chunk(len(like)), like.shape[-1]) * min(TOKENS_A_CHUNK, len(like))
        if variables is not None:
            size = variables * like.shape[-1]
        self.rows = {"before": D, "h": D + 1, "halves": 2 * H, "y": H, "scaled": H, "d_halves": 2 * H, "dh": D}
        self.size, self.like = size, like
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, chunk: Tensor) -> Tensor:
        """The named buffer as (C, rows, n) for a chunk (C, ., n)."""
        if name not in self.buffers:
            self.buffers[name] = self.like.new_empty(self.size * self.rows[name])
        C, n = chunk.shape[0], chunk.shape[2]
        return self.buffers[name][: C * self.rows[name] * n].view(C, self.rows[name], n)


def _networks(room: _Workspace, lines: Tensor, basis: Tensor, inner: Tensor, maps: Tensor, skip: Tensor) -> _Networks:
    """lines (C, 2, n) = [x; 1], basis (C, K, n) -> the chunk's networks, in the workspace."""
    h, D = room.take("h", lines), inner.shape[1]
    before = torch.bmm(inner, lines, out=room.take("before", lines))  # (C, D, n)
    aten.elu.out(before, out=h[:, :D])
    h[:, D] = 1.0
    halves = torch.bmm(maps, h, out=room.take("halves", lines))
    y = aten.glu.out(halves, 1, out=room.take("y", lines)).baddbmm_(skip, basis)
    return _Networks(h, halves, y)


def _with_ones(x: Tensor) -> Tensor:
    """(V, n) -> (V, 2, n) = [x; 1]."""
    lines = x.new_empty(x.shape[0], 2, x.shape[1])
    lines[:, 0] = x
    lines[:, 1] = 1.0
    return lines


def _variables_a_chunk(n_tokens: int) -> int:
    return VARIABLES_A_CHUNK * TOKENS_A_CHUNK // max(min(n_tokens, TOKENS_A_CHUNK), 1)


def _slices(length: int) -> list[slice]:
    return [slice(start, min(start + TOKENS_A_CHUNK, length)) for start in range(0, length, TOKENS_A_CHUNK)]
