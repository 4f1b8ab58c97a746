"""Variable selection: one gated residual network a variable, and softmax weights from all of them together.

Axes: N tokens (a symbol at a bar), R real and C categorical variables, V = C + R in this order, D width of a real
variable's embedding, d = min(D, H), H hidden. The parameters are those of the paper, stacked over the real variables; what
they make of a scalar is folded before the tokens are touched: see `RealVariables.folded`.
Source: Lim et al. (2021), eq. 6-8; the resampled skips are pytorch-forecasting's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tft_pipeline.model.layers import (
    ResampleNorm,
    context_map,
    gate_map,
    hidden_map,
    normal,
    resampled,
    symmetric_uniform,
)
from tft_pipeline.model.selection_kernel import NORM_EPSILON, WeightedVariables


class VariableEmbedding(nn.Module):
    """Embeddings of all inputs of a network: scale * x + shift of a real one, a table of a categorical one.

    Args:
        categories: (levels, width) of each categorical variable.
    """

    def __init__(self, n_reals: int, width: int, categories: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        self.scale = symmetric_uniform(n_reals, width, bound=1.0)
        self.shift = symmetric_uniform(n_reals, width, bound=1.0)
        self.tables = nn.ModuleList(nn.Embedding(levels, wide) for levels, wide in categories)


class FoldedVariables(NamedTuple):
    """The real variables' networks as functions of one number each: the tensors `WeightedVariables` takes.

    spread (R, 3) holds v2, v1, v0 of the variance v2 x^2 + v1 x + v0 of a resampled skip over H; None where the skip is not
    normalised.
    """

    inner: Tensor
    maps: Tensor
    skip: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    spread: Tensor | None

    def weighted_sum(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, R), weights (N, R) -> sum over variables of weight * network(x), (N, H)."""
        basis = None
        if self.spread is not None:
            lines = x.t()  # (R, N)
            v2, v1, v0 = (part.unsqueeze(1) for part in self.spread.unbind(1))
            inverse = torch.rsqrt(((v2 * lines + v1) * lines + v0).clamp(min=0.0) + NORM_EPSILON)
            basis = torch.stack((lines * inverse, inverse, torch.ones_like(lines)), dim=1)  # (R, 3, N)
        out: Tensor = WeightedVariables.apply(  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
            x, weights, basis, self.inner, self.maps, self.skip, self.norm_weight, self.norm_bias
        )
        return out


class RealVariables(nn.Module):
    """A gated residual network for each real variable, from its embedding e = p x + q to (H):

    y = LayerNorm(GLU(G (W2 ELU(W1 e + b1) + b2) + g) + skip(e)),   skip = e, or ResampleNorm(e) where D is not H
    """

    def __init__(self, n_variables: int, hidden: int, *, width: int) -> None:
        super().__init__()
        R, H, D, d = n_variables, hidden, width, min(width, hidden)
        self.inner_weight = normal(R, d, D, std=(2.0 / D) ** 0.5)
        self.inner_bias = nn.Parameter(torch.zeros(R, d))
        self.outer_weight = normal(R, d, d, std=(2.0 / d) ** 0.5)
        self.outer_bias = nn.Parameter(torch.zeros(R, d))
        self.gate_weight = symmetric_uniform(R, 2 * H, d, bound=(6.0 / (2 * H + d)) ** 0.5)
        self.gate_bias = nn.Parameter(torch.zeros(R, 2 * H))
        self.norm_weight = nn.Parameter(torch.ones(R, H))
        self.norm_bias = nn.Parameter(torch.zeros(R, H))
        self.resamples = D != H
        if self.resamples:
            self.opening = nn.Parameter(torch.zeros(R, H))
            self.skip_norm_weight = nn.Parameter(torch.ones(R, H))
            self.skip_norm_bias = nn.Parameter(torch.zeros(R, H))

    def folded(self, scale: Tensor, shift: Tensor) -> FoldedVariables:
        """Embeddings scale, shift (R, D) -> the networks as functions of x; differentiable.

        W1 (p x + q) + b1 = k x + l, and G W2 is one map, for dropout acts behind the selection instead of between the two.
        """
        slope, level = (self.inner_weight @ torch.stack((scale, shift), dim=-1)).unbind(-1)  # (R, d) each
        inner = torch.stack((slope, level + self.inner_bias), dim=-1)  # (R, d, 2) = [k, l]
        maps = self.gate_weight @ self.outer_weight  # (R, 2H, d)
        bias = torch.baddbmm(self.gate_bias.unsqueeze(-1), self.gate_weight, self.outer_bias.unsqueeze(-1))
        maps = torch.cat((maps, bias), dim=-1)  # (R, 2H, d+1)
        spread: Tensor | None = None
        columns: tuple[Tensor, ...] = (scale, shift)
        if self.resamples:
            H = self.opening.shape[1]
            opening = 2.0 * torch.sigmoid(self.opening)
            slope, level = resampled(scale, H) * opening, resampled(shift, H) * opening
            slope, level = slope - slope.mean(1, keepdim=True), level - level.mean(1, keepdim=True)
            spread = torch.stack(
                ((slope * slope).mean(1), 2.0 * (slope * level).mean(1), (level * level).mean(1)), dim=1
            )
            columns = (slope * self.skip_norm_weight, level * self.skip_norm_weight, self.skip_norm_bias)
        skip = torch.stack(columns, dim=-1)  # (R, H, 3) or (R, H, 2)
        skip = skip - skip.mean(1, keepdim=True)
        return FoldedVariables(inner, maps, skip, self.norm_weight, self.norm_bias, spread)


class JointWeights(nn.Module):
    """Softmax of a gated residual network on all embeddings side by side: Lim et al. eq. 6.

    softmax(LayerNorm(GLU(W2 ELU(W1 E + W3 c + b1) + b2) + ResampleNorm(E))),   E (N, total) the embeddings
    """

    def __init__(self, n_variables: int, total: int, hidden: int, *, context: bool) -> None:
        super().__init__()
        V, width = n_variables, min(hidden, n_variables)
        self.inner = hidden_map(total, width)
        self.context = context_map(hidden, width) if context else None
        self.outer = hidden_map(width, width)
        self.gate = gate_map(width, V)
        self.skip = ResampleNorm(V) if total != V else None
        self.norm = nn.LayerNorm(V)

    def forward(
        self, x: Tensor, scale: Tensor, shift: Tensor, embedded: Sequence[Tensor], context: Tensor | None
    ) -> Tensor:
        """x (N, R), scale and shift (R, D), embedded C tensors (N, .), context (N, H) or (1, H) -> (N, C + R)."""
        first = x.shape[1] * scale.shape[1]  # columns of E behind the categorical ones
        by_real = self.inner.weight[:, self.inner.in_features - first :].view(
            self.inner.out_features, *scale.shape
        )  # (width, R, D)
        slope, level = (by_real.transpose(0, 1) @ torch.stack((scale, shift), dim=-1)).unbind(-1)  # (R, width) each
        before = torch.addmm(self.inner.bias + level.sum(0), x, slope)
        if embedded:
            before = before + torch.cat(tuple(embedded), dim=1) @ self.inner.weight[:, : -first or None].t()
        if self.context is not None:
            before = before + self.context(context)
        branch = functional.glu(self.gate(self.outer(functional.elu(before))), dim=-1)
        return torch.softmax(self.norm(branch + self._skip(x, scale, shift, embedded)), dim=-1)

    def _skip(self, x: Tensor, scale: Tensor, shift: Tensor, embedded: Sequence[Tensor]) -> Tensor:
        """(N, V). With real variables only, both neighbours of resampled value v are of variable v: it is affine in x."""
        if embedded:
            reals = (x.unsqueeze(-1) * scale + shift).flatten(1)  # (N, R D)
            flat = torch.cat((*embedded, reals), dim=1)
            return flat if self.skip is None else self.skip(flat)
        slope, level = (resampled(part.reshape(1, -1), x.shape[1]) for part in (scale, shift))  # (1, V)
        if self.skip is None:
            return x * slope + level
        opening = 2.0 * torch.sigmoid(self.skip.opening)
        out: Tensor = self.skip.norm(x * (slope * opening) + level * opening)
        return out


class VariableSelection(nn.Module):
    """Weigh the inputs of each token, then add them up; a lone input has weight 1.

    Args:
        widths: embedding width of each categorical variable.
        width: D.
        context: whether the weights read a static context.
    """

    def __init__(
        self, n_reals: int, hidden: int, *, width: int, widths: Sequence[int] = (), context: bool = False
    ) -> None:
        super().__init__()
        V = len(widths) + n_reals
        self.reals = RealVariables(n_reals, hidden, width=width) if n_reals else None
        self.categories = nn.ModuleList(ResampleNorm(hidden) for _ in widths)
        total = sum(widths) + n_reals * width
        self.joint = JointWeights(V, total, hidden, context=context) if V > 1 else None

    def forward(
        self,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        embedded: Sequence[Tensor] = (),
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x (N, R), scale and shift (R, D), embedded C tensors (N, .), context (N, H) -> (N, H), weights (N, C + R).

        Raises:
            ValueError: x wants a gradient, which `WeightedVariables` does not compute.
        """
        if x.requires_grad:
            raise ValueError("the inputs want a gradient, which is not computed here: it would be wrong; detach them")
        with torch.autocast(
            x.device.type, enabled=False
        ):  # the kernel writes into tensors of its own, of one precision
            vectors = [vector.to(scale.dtype) for vector in embedded]
            return self._selected(
                x.to(scale.dtype), scale, shift, vectors, None if context is None else context.to(scale.dtype)
            )

    def _selected(
        self, x: Tensor, scale: Tensor, shift: Tensor, embedded: Sequence[Tensor], context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        weights = x.new_ones(len(x), 1)
        if self.joint is not None:
            weights = self.joint(x, scale, shift, embedded, context)
        terms = [
            weights[:, c : c + 1] * network(vectors)
            for c, (network, vectors) in enumerate(zip(self.categories, embedded, strict=True))
        ]
        if self.reals is not None:
            terms.append(self.reals.folded(scale, shift).weighted_sum(x, weights[:, len(embedded) :]))
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0], weights
