"""Ready parametrizations: weight normalisation, spectral normalisation, orthogonal matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight import linalg
from rushlight.autograd.modes import no_grad
from rushlight.nn import functional as F
from rushlight.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from rushlight.nn.making import empty
from rushlight.nn.module import Module
from rushlight.nn.utils import parametrize
from rushlight.ops import public
from rushlight.tensor.tensor import Tensor, wrap


def norm_except_dim(v: Any, dim: int) -> Any:
    """The norms of the slices along `dim`, kept as dimensions of size one; of all elements for -1."""
    squares = v * v
    if dim == -1:
        return squares.sum().sqrt()
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return (squares.sum(others, keepdim=True) if others else squares).sqrt()


class _WeightNorm(Module):
    """weight = v g / |v|."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        """The weight, of v's shape."""
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """The norms, and the weight itself as the direction."""
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Trains length and direction of the slices along `dim` apart; None for the length of all.

    Source: Salimans and Kingma, "Weight Normalization", NeurIPS 2016.

    >>> from rushlight import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(20, 40))
    >>> layer.parametrizations.weight.original0.shape
    torch.Size([40, 1])
    """
    return parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """weight over its largest singular value, which power iteration follows."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        ndim = weight.dim()
        if dim >= ndim or dim < -ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight)
            for name, size in zip(("_u", "_v"), matrix.shape):
                drawn: Any = empty(size, dtype=weight.dtype)
                self.register_buffer(name, F.normalize(drawn.normal_(0, 1), dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        if weight.dim() > 1 and self.dim != 0:
            rest = [d for d in range(weight.dim()) if d != self.dim]
            weight = weight.permute(self.dim, *rest)
        return weight.flatten(1)

    @no_grad()
    def _iterate(self, matrix: Any, times: int) -> None:
        u: Any = self._u
        v: Any = self._v
        for _ in range(times):
            u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
            v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=self.eps))

    def forward(self, weight: Any) -> Any:
        """The weight over its largest singular value; in training after one more round of iteration."""
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        u: Any = self._u
        v: Any = self._v
        return weight / u.clone().dot(matrix.mv(v.clone()))

    def right_inverse(self, value: Any) -> Any:
        """The value: its scale does not matter."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a weight by its largest singular value. Source: Miyato et al., ICLR 2018.

    `dim` is the dimension of outputs: 1 for transposed convolutions, else 0, unless given.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    return parametrize.register_parametrization(
        module, name, _SpectralNorm(weight, n_power_iterations, dim, eps)
    )


class _Orthogonal(Module):
    """An orthogonal matrix from any matrix, by one of three maps."""

    base: Any

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError(
                "The householder parametrization does not support complex tensors: choose another orthogonal_map."
            )
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.register_buffer("base", None)
        if use_trivialization:
            self.register_buffer("base", _orthonormal(weight))

    def forward(self, X: Any) -> Any:
        """A matrix of the same shape with orthonormal columns, or rows if these are fewer."""
        n, k = X.size(-2), X.size(-1)
        wide = n < k
        if wide:
            X = X.mT
            n, k = k, n
        if self.orthogonal_map == "householder":
            Q = _reflections(X.tril(-1), n, k)
            Q = Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            A = X.tril()
            if n != k:
                A = public.cat([A, A.new_zeros(n, n - k).expand(*A.shape[:-2], -1, -1)], -1)
            A = A - A.mH
            if self.orthogonal_map == "matrix_exp":
                Q = linalg.matrix_exp(A)
            else:
                eye = public.eye(n, dtype=A.dtype)
                Q = linalg.solve(eye - 0.5 * A, eye + 0.5 * A)
            Q = Q[..., :k] if n != k else Q
        if self.base is not None:
            Q = self.base @ Q
        return Q.mT if wide else Q

    @no_grad()
    def right_inverse(self, Q: Any) -> Any:
        """A matrix that this maps to Q, or with a base to an orthonormal basis of Q's columns."""
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        start = Q.mT if Q.size(-2) < Q.size(-1) else Q
        n, k = start.size(-2), start.size(-1)
        if self.base is None:
            if self.orthogonal_map in ("cayley", "matrix_exp"):
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            reflectors, scales = _householder(start._array)
            result = np.tril(reflectors, -1)
            signs = np.where(scales == 0, 1.0, -1.0) * 0 + np.sign(
                np.diagonal(reflectors, axis1=-2, axis2=-1)
            )
            signs[signs == 0] = 1.0
            diagonal = np.arange(k)
            result[..., diagonal, diagonal] = signs
            found: Any = wrap(result.astype(start._array.dtype))
            return found.mT if Q.size(-2) < Q.size(-1) else found
        if n == k:
            basis = wrap(_fix_signs(np.linalg.qr(start._array)))
        else:
            basis = wrap(_complete(_fix_signs(np.linalg.qr(start._array)), n))
        self.base.copy_(basis)
        zero = public.zeros_like(Q)
        if self.orthogonal_map == "householder":
            zero.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return zero


def _fix_signs(factors: Any) -> Any:
    """The Q whose R has a positive diagonal: Q itself where Q was orthonormal already."""
    q, r = factors
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def _complete(columns: Any, n: int) -> Any:
    """Orthonormal columns (n, k) followed by a basis of what is orthogonal to them: (n, n)."""
    k = columns.shape[-1]
    full, _r = np.linalg.qr(columns, mode="complete")
    full = full.copy()
    full[..., :k] = columns
    return full.astype(columns.dtype)


def _orthonormal(weight: Any) -> Tensor:
    """The start of the base: a square orthonormal matrix that begins with the weight's columns made orthonormal."""
    array = weight.detach()._array
    start = np.swapaxes(array, -2, -1) if array.shape[-2] < array.shape[-1] else array
    q = _fix_signs(np.linalg.qr(start))
    n, k = q.shape[-2:]
    return wrap(np.ascontiguousarray(q if n == k else _complete(q, n)))


def _householder(matrix: Any) -> tuple[Any, Any]:
    """LAPACK's reflectors below the diagonal, and their scales, of an (n, k) matrix."""
    packed, scales = np.linalg.qr(matrix, mode="raw")
    return np.swapaxes(packed, -2, -1).copy(), scales


def _reflections(lower: Any, n: int, k: int) -> Any:
    """The first k columns of the product of reflections I - tau v v^T, with v = e_i + lower[:, i]."""
    eye = public.eye(n, dtype=lower.dtype)
    V = lower + eye[:, :k]
    tau = 2.0 / (V * V).sum(-2)
    Q = eye[:, :k].expand(*lower.shape[:-2], -1, -1) if lower.dim() > 2 else eye[:, :k]
    for i in reversed(range(k)):
        v = V[..., i : i + 1]
        Q = Q - (tau[..., i : i + 1].unsqueeze(-1) * v) @ (v.mT @ Q)
    return Q


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keeps a matrix orthogonal: its columns orthonormal, or its rows if these are fewer.

    `orthogonal_map` is 'matrix_exp' (square matrices unless told otherwise), 'cayley' or 'householder' (others). With
    `use_trivialization` the map is taken around a base, which makes any orthogonal value reachable.
    Source: Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds", NeurIPS 2019.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
