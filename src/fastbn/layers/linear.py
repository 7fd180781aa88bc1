"""The affine layer."""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np
from numpy.typing import DTypeLike

from fastbn import _core
from fastbn.functional import Array, as_rows
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.check import check_gradient, check_input, float_dtype, positive
from fastbn.layers.parameter import Parameter

__all__ = ["Linear"]

# `_core` is called by position, `gemm` with alpha, beta, trans_a, trans_b: keywords would double
# the cost of the call, which counts in a small batch.


class Linear(Layer):
    """``y = x @ weight + bias`` over the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of x and of y.
    bias : bool
        Whether there is a bias.  A layer before a `BatchNorm1d` needs none: the mean takes it out.
    dtype : {numpy.float32, numpy.float64}
        Of the parameters, and so of x and y.
    rng : int, numpy.random.Generator or None
        Where the initial values come from; None draws a seed from the operating system.

    Attributes
    ----------
    weight : Parameter, shape (in_features, out_features)
        The transpose of PyTorch's.
    bias : Parameter, shape (out_features,), or None

    Raises
    ------
    ValueError
        If a size is not positive, or x has another last axis than `in_features`.
    TypeError
        If a dtype does not fit.

    Notes
    -----
    Both are drawn from U(-b, b) with b = 1 / sqrt(in_features), as ``torch.nn.Linear`` does (after
    LeCun et al., "Efficient BackProp", 1998).  One seed gives the same values in both dtypes, up to
    rounding.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.in_features = positive("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        self.dtype = float_dtype(dtype)
        rng = np.random.default_rng(rng)
        bound = 1.0 / math.sqrt(in_features)
        shape = (self.in_features, self.out_features)
        self.weight = Parameter(rng.uniform(-bound, bound, shape).astype(self.dtype))
        self.bias: Parameter | None = None
        if bias:
            values = rng.uniform(-bound, bound, out_features).astype(self.dtype)
            self.bias = Parameter(values, decay=False)
        self._y, self._dx = _core.Workspace(), _core.Workspace()

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Apply the layer to x of shape (..., in_features); see `Layer.forward`."""
        return self._forward(x, training, None)

    def _forward_relu(self, x: Array, relu: ReLU, *, training: bool) -> Array:
        """Apply this layer and `relu` in one kernel call; see `fuse`."""
        y = self._forward(x, training, "relu")
        if training:
            relu._keep(y)
        return y

    def _forward(self, x: Array, training: bool, activation: Literal["relu"] | None) -> Array:
        x = check_input(self, x, self.in_features, axis=-1)
        rows = x if x.ndim == 2 else as_rows(x)
        out = None
        if training:
            self.forget()
            out = self._y
        bias = None if self.bias is None else self.bias.data
        y = _core.gemm(rows, self.weight.data, out, 1.0, 0.0, False, False, bias, activation)
        if training:
            self._saved = x.shape, rows
        return y if rows is x else y.reshape(*x.shape[:-1], self.out_features)

    @overload
    def backward(self, dy: Array, *, need_dx: Literal[True] = True) -> Array: ...
    @overload
    def backward(self, dy: Array, *, need_dx: bool) -> Array | None: ...

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        """Gradients of the last training forward; see `Layer.backward`.

        With ``need_dx=False``, for the first layer of a net, dx is not computed and None returned.
        """
        shape, rows = self._recall()
        dy = check_gradient(self, dy, (*shape[:-1], self.out_features))
        bias = None if self.bias is None else self.bias.grad
        dx, _, _ = _core.linear_backward(
            dy if dy.ndim == 2 else as_rows(dy),
            rows,
            self.weight.data,
            need_dx,
            bias is not None,
            self._dx,
            self.weight.grad,
            bias,
        )
        return dx if dx is None or len(shape) == 2 else dx.reshape(shape)

    def backward_parameters(self, dy: Array) -> None:
        """``backward(dy, need_dx=False)``."""
        self.backward(dy, need_dx=False)

    def _backward_relu(self, dy: Array, relu: ReLU, *, need_dx: bool = True) -> Array | None:
        """Go back through `relu` and this layer; see `fuse`."""
        return self.backward(relu.backward(dy), need_dx=need_dx)

    def __repr__(self) -> str:
        bias = self.bias is not None
        return f"Linear({self.in_features}, {self.out_features}, bias={bias}, dtype={self.dtype})"
