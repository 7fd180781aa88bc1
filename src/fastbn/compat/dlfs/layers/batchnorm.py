"""Batch normalization."""

from __future__ import annotations

from fastbn import _core
from fastbn.compat.arrays import common_dtype, flattened, float_array
from fastbn.compat.dlfs.layers.base import Layer
from fastbn.functional import Array, batch_norm, batch_norm_backward

__all__ = ["BatchNormalization"]

EPS = 10e-7  # as the book writes it: 1e-6, not 1e-7


class BatchNormalization(Layer):
    """``gamma * (x - mean) / sqrt(var + 1e-6) + beta``, over the samples.

    Parameters
    ----------
    gamma, beta : ndarray, shape (D,)
        Kept by reference.
    momentum : float
        Weight of the *old* value in the running statistics.
    running_mean, running_var : ndarray, shape (D,), optional
        Zeros by default.

    Attributes
    ----------
    gamma, beta, momentum, running_mean, running_var
        As above; each forward in training puts new arrays in the place of the running statistics.
    dgamma, dbeta : ndarray, shape (D,)
        Of the last backward.
    batch_size : int
    xc, xn : ndarray, shape (N, D)
    std : ndarray, shape (D,)
        Of the last forward in training: the samples, the centred and the normalized x, and
        ``sqrt(var + 1e-6)``.  The arrays are computed when they are read.
    input_shape : tuple of int
        Of the last x, before flattening.

    Raises
    ------
    TypeError, ValueError
        From `forward` and `backward`, if dtypes or shapes do not fit, or if there is one sample in
        training.

    Notes
    -----
    Ioffe and Szegedy, 2015 (arXiv:1502.03167).  The interface is that of ``common.layers`` in the
    book: images are flattened to (N, C * H * W), so that each pixel is a channel of its own; the
    variance is the biased one, in the running statistics too.
    """

    parameter_names = ("gamma", "beta")

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        momentum: float = 0.9,
        running_mean: Array | None = None,
        running_var: Array | None = None,
    ) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.input_shape: tuple[int, ...] | None = None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None
        self._cache: _core.BatchNormCache | None = None

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """Normalize by the batch in training, by the running statistics else."""
        x, gamma, beta = common_dtype(x=x, gamma=self.gamma, beta=self.beta)
        rows = flattened("x", x)
        zeros = [0.0] * rows.shape[1]

        def running(name: str) -> Array:
            array = getattr(self, name)
            array = float_array(name, zeros if array is None else array)
            return array.astype(x.dtype, copy=train_flg)

        mean, var = running("running_mean"), running("running_var")
        y, cache = batch_norm(
            rows,
            gamma,
            beta,
            mean,
            var,
            training=train_flg,
            momentum=1 - self.momentum,
            eps=EPS,
            unbiased=False,
        )
        self.running_mean, self.running_var, self.input_shape = mean, var, x.shape
        if train_flg:
            self._cache = cache
        return y.reshape(x.shape)

    def backward(self, dout: Array) -> Array:
        """Return dx, in the shape of x, from dout of that shape."""
        cache = self._recall(self._cache)
        dout = float_array("dout", dout).astype(cache.x.dtype, copy=False)
        dx, dgamma, dbeta = batch_norm_backward(flattened("dout", dout), cache)
        self._write(dgamma, dbeta)
        return dx.reshape(dout.shape)

    @property
    def batch_size(self) -> int | None:
        """Samples of the last forward in training."""
        return None if self._cache is None else len(self._cache.x)

    @property
    def xc(self) -> Array | None:
        """The centred x of the last forward in training."""
        return None if self._cache is None else self._cache.x - self._cache.mean

    @property
    def xn(self) -> Array | None:
        """The normalized x of the last forward in training."""
        return None if self._cache is None else (self._cache.x - self._cache.mean) / self.std

    @property
    def std(self) -> Array | None:
        """``sqrt(var + 1e-6)`` of the last forward in training."""
        return None if self._cache is None else 1 / self._cache.invstd
