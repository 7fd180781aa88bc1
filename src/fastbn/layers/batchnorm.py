"""Batch normalization of rows, of sequences and of images."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbn import _core
from fastbn.functional import Array, batch_norm
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.check import check_input, float_dtype, positive
from fastbn.layers.parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class _BatchNorm(Layer):
    """What the two have in common: all but the shape of x."""

    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    dimensions: ClassVar[tuple[int, ...]]  # of x

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        virtual_batch_size: int | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if not eps >= 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be None or lie between 0 and 1, got {momentum}")
        self.num_features = positive("num_features", num_features)
        self.virtual_batch_size = virtual_batch_size
        if virtual_batch_size is not None:
            self.virtual_batch_size = positive("virtual_batch_size", virtual_batch_size)
        self.eps, self.momentum, self.axis = eps, momentum, 1
        self.dtype = float_dtype(dtype)
        self.gamma: Parameter | None = None
        self.beta: Parameter | None = None
        self.running_mean: Array | None = None
        self.running_var: Array | None = None
        self.num_batches_tracked: NDArray[np.int64] | None = None
        if affine:
            self.gamma = Parameter(np.ones(num_features, self.dtype), decay=False)
            self.beta = Parameter(np.zeros(num_features, self.dtype), decay=False)
        if track_running_stats:
            self.running_mean = np.zeros(num_features, self.dtype)
            self.running_var = np.ones(num_features, self.dtype)
            self.num_batches_tracked = np.zeros((), np.int64)
        self._y, self._dx = _core.Workspace(), _core.Workspace()

    def forward(self, x: Array, *, training: bool = False, weights: Array | None = None) -> Array:
        """Normalize by the batch in training, by the running statistics else; see the class.

        Parameters
        ----------
        x : ndarray
        training : bool
        weights : ndarray, optional
            How often each position counts, or a mask that is False at padding: see `batch_norm`.
        """
        return self._forward(x, training, None, weights)

    def _forward_relu(self, x: Array, relu: ReLU, *, training: bool) -> Array:
        """Apply this layer and `relu` in one kernel call; see `fuse`."""
        y = self._forward(x, training, "relu")
        if training:
            relu._keep(y)
        return y

    def _forward(
        self,
        x: Array,
        training: bool,
        activation: Literal["relu"] | None,
        weights: Array | None = None,
    ) -> Array:
        x = check_input(self, x, self.num_features, axis=self.axis)
        if x.ndim not in self.dimensions:
            raise ValueError(
                f"{type(self).__name__} takes x of {self.dimensions} dimensions, "
                f"got shape {x.shape}"
            )
        out = None
        if training:
            self.forget()
            out = self._y
        y, cache = self._normalize(x, training, activation, out, weights)
        if training:
            self._saved = cache, activation
        return y

    def _normalize(
        self,
        x: Array,
        training: bool,
        activation: Literal["relu"] | None,
        out: _core.Out,
        weights: Array | None,
    ) -> tuple[Array, _core.BatchNormCache]:
        gamma, beta = self._affine()
        return batch_norm(
            x,
            gamma,
            beta,
            self.running_mean,
            self.running_var,
            training=training or self.running_mean is None,
            momentum=self.momentum,
            eps=self.eps,
            axis=self.axis,
            activation=activation,
            out=cast(Array, out),  # `batch_norm` hands a workspace on as well
            num_batches_tracked=self.num_batches_tracked,
            weights=weights,
            virtual_batch_size=self.virtual_batch_size if training else None,
        )

    def backward(self, dy: Array) -> Array:
        """Gradients of the last training forward; see `Layer.backward`."""
        cache, activation = self._recall()
        if activation is not None:
            cache = self._without_activation(cache)
        return self._backward(dy, cache)

    def _backward_relu(self, dy: Array, relu: ReLU, *, need_dx: bool = True) -> Array:
        """Go back through `relu` and this layer in one kernel call; see `fuse`."""
        cache, activation = self._recall()
        if activation is None:  # this layer was called alone since
            dy = relu.backward(dy)
        return self._backward(dy, cache)

    def _backward(self, dy: Array, cache: _core.BatchNormCache) -> Array:
        dgamma = None if self.gamma is None else self.gamma.grad
        dbeta = None if self.beta is None else self.beta.grad
        dx, _, _ = _core.batch_norm_backward(dy, cache, self._dx, dgamma, dbeta)
        return dx

    def _without_activation(self, cache: _core.BatchNormCache) -> _core.BatchNormCache:
        """Compute what a forward of this layer alone would have kept.

        Rarely needed: a fused pair is gone through as a pair.  But who walks back over a net's
        layers by hand must find each layer's own gradient.
        """
        gamma, beta = self._affine()
        _, alone = _core.batch_norm(
            cache.x,
            gamma,
            beta,
            training=True,
            eps=self.eps,
            axis=self.axis,
            weights=cache.weights,
            groups=cache.groups,
        )
        return alone

    def _affine(self) -> tuple[Array | None, Array | None]:
        gamma = None if self.gamma is None else self.gamma.data
        beta = None if self.beta is None else self.beta.data
        return gamma, beta

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.num_features}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.gamma is not None}, "
            f"track_running_stats={self.running_mean is not None}, dtype={self.dtype})"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C), or of (N, C, L) over N and L.

    In training ``y = gamma * (x - mean) / sqrt(var + eps) + beta`` with the mean and the biased
    variance of each channel in this batch, which also enter the running statistics; otherwise with
    the running statistics.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps : float
        Added to the variance, inside the root.
    momentum : float or None
        Weight of the *new* value in the running statistics, as in PyTorch: Keras' 0.99 is 0.01
        here.  None is the cumulative average over all batches so far.
    affine : bool
        Whether there are gamma and beta, which start at 1 and 0.
    track_running_stats : bool
        Whether there are running statistics, which start at mean 0 and variance 1.  Without them
        inference, too, uses the statistics of its batch.
    virtual_batch_size : int, optional
        In training, samples of a ghost batch, which has statistics of its own: see `batch_norm`.
    dtype : {numpy.float32, numpy.float64}
        Of the parameters and statistics, and so of x and y.

    Attributes
    ----------
    gamma, beta : Parameter, shape (C,), or None
    running_mean, running_var : ndarray, shape (C,), or None
        The variance is the unbiased one, as in PyTorch.
    num_batches_tracked : ndarray of int64, shape (), or None

    Raises
    ------
    ValueError
        If x has another number of channels or of dimensions, or one value a channel in training.
    TypeError
        If x has another dtype.

    Notes
    -----
    Ioffe and Szegedy, 2015 (arXiv:1502.03167); the conventions are those of
    ``torch.nn.BatchNorm1d``, whose ``weight`` and ``bias`` are `gamma` and `beta`.
    """

    dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of images over N, H and W: `BatchNorm1d` says how.

    Parameters
    ----------
    num_features : int
    eps : float
    momentum : float or None
    affine, track_running_stats : bool
    virtual_batch_size : int, optional
        As in `BatchNorm1d`.
    layout : {"NCHW", "NHWC"}
        The order of x's axes.
    dtype : {numpy.float32, numpy.float64}

    Raises
    ------
    ValueError, TypeError
        As `BatchNorm1d`, and ValueError for another layout.
    """

    dimensions = (4,)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        virtual_batch_size: int | None = None,
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        dtype: DTypeLike = np.float32,
    ) -> None:
        if layout not in ("NCHW", "NHWC"):
            raise ValueError(f"layout must be 'NCHW' or 'NHWC', got {layout!r}")
        super().__init__(
            num_features,
            eps,
            momentum,
            affine=affine,
            track_running_stats=track_running_stats,
            virtual_batch_size=virtual_batch_size,
            dtype=dtype,
        )
        self.layout, self.axis = layout, 1 if layout == "NCHW" else -1
