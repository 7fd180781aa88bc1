"""The net of `fastbn train` in plain, careful NumPy: the yardstick of its speed and of its results.

Nothing in this file uses a kernel of fastbn.  One forward and backward pass of a hidden block is

    z = x W + b,   h = (z - mean(z)) / sqrt(var(z) + eps),   y = max(0, gamma h + beta)

    dh = dy * gamma * (y > 0),   dz = (dh - mean(dh) - h mean(dh h)) / sqrt(var(z) + eps)
    dW = x' dz,   dx = dz W'

with means over the rows of the batch (Ioffe and Szegedy 2015, arXiv 1502.03167).  It is written as
someone who knows NumPy well writes it: every large array is allocated once and updated in place,
parameters and gradients lie in one flat buffer each, and every product is one call of BLAS.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]

# The optimizer's passes over this many numbers at a time stay in the cache: 4 arrays of 128 kB in
# float32.  Over the whole of 535,000 parameters they take 1.7 times as long.
_CHUNK = 32768


@dataclass
class Block:
    """One `Linear` of the net with the batch normalization that follows it, or without one.

    Attributes
    ----------
    weight : ndarray, shape (in, out)
    bias : ndarray, shape (out,), or None
    gamma, beta : ndarray, shape (out,), or None
        Scale and shift of the batch normalization; both None where there is none.
    """

    weight: Array
    bias: Array | None = None
    gamma: Array | None = None
    beta: Array | None = None

    def arrays(self) -> list[Array]:
        """Return the parameters that this block has, in the order of the attributes."""
        return [a for a in (self.weight, self.bias, self.gamma, self.beta) if a is not None]


def random_blocks(
    sizes: Sequence[int],
    *,
    batch_norm: bool = True,
    dtype: DTypeLike = np.float32,
    rng: int | np.random.Generator | None = None,
) -> list[Block]:
    """Fresh parameters for a net of the given layer sizes.

    Parameters
    ----------
    sizes : sequence of int
        Features in, the sizes of the hidden layers, classes out: (784, 512, 256, 10).
    batch_norm : bool
        Whether a batch normalization follows every layer but the last; the layer then has no bias
        of its own, because the normalization would subtract it again.
    dtype : float32 or float64
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    list of Block
        Weights are normal with variance 2 / in (He and others 2015, arXiv 1502.01852).
    """
    draw = np.random.default_rng(rng).standard_normal
    blocks = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weight = (draw((n_in, n_out)) * np.sqrt(2.0 / n_in)).astype(dtype)
        if batch_norm and i < len(sizes) - 2:
            blocks.append(Block(weight, None, np.ones(n_out, dtype), np.zeros(n_out, dtype)))
        else:
            blocks.append(Block(weight, np.zeros(n_out, dtype)))
    return blocks


class NumpyNet:
    """Linear, batch normalization and ReLU, repeated, and a last Linear; trained by `step`.

    Parameters
    ----------
    blocks : sequence of Block
        The parameters, which are copied into one flat buffer.  All blocks but the last are
        followed by a ReLU.
    optimizer : {"sgd", "adam", "adamw"}
    lr, momentum, weight_decay : float
        As in `fastbn.SGD`, `fastbn.Adam` and `fastbn.AdamW`: `v = momentum v + g; p -= lr v`, and
        decay for weight matrices alone.
    dtype : float32, float64 or None
        The dtype of the whole computation; None takes that of the first weight.
    eps, bn_momentum : float
        Of the batch normalization.  `bn_momentum` weighs the new batch in the running statistics.

    Attributes
    ----------
    blocks : list of Block
        Views of the parameters in the flat buffer.
    lr : float
        May be changed between steps.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        optimizer: str = "sgd",
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dtype: DTypeLike | None = None,
        eps: float = 1e-5,
        bn_momentum: float = 0.1,
    ) -> None:
        if optimizer not in ("sgd", "adam", "adamw"):
            raise ValueError(f"optimizer must be sgd, adam or adamw, not {optimizer!r}")
        self.dtype = np.dtype(blocks[0].weight.dtype if dtype is None else dtype)
        self.optimizer = optimizer
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.eps, self.bn_momentum = eps, bn_momentum
        self.flat = np.concatenate([a.ravel() for b in blocks for a in b.arrays()]).astype(
            self.dtype
        )
        self.flat_grad = np.zeros_like(self.flat)
        self.blocks = _views(blocks, self.flat)
        self.grads = _views(blocks, self.flat_grad)
        state = [np.zeros_like(self.flat) for _ in range(1 if optimizer == "sgd" else 2)]
        self._chunks = [
            [a[i : i + _CHUNK] for a in (self.flat, self.flat_grad, *state)]
            for i in range(0, self.flat.size, _CHUNK)
        ]
        self._scratch = np.empty(_CHUNK, self.dtype)
        self._steps = 0
        widths = [b.weight.shape[1] for b in blocks[:-1]]
        self.running_mean = [np.zeros(n, self.dtype) for n in widths]
        self.running_var = [np.ones(n, self.dtype) for n in widths]
        self._workspaces: dict[int, _Workspace] = {}

    # -- one training step -----------------------------------------------------------------------

    def step(self, x: Array, labels: Array) -> float:
        """One update of the parameters.

        Parameters
        ----------
        x : ndarray, shape (batch, features)
        labels : ndarray of int, shape (batch,)

        Returns
        -------
        float
            The mean softmax cross-entropy of the batch before the update, in nats.
        """
        x = np.asarray(x, self.dtype)
        work = self._workspaces.get(len(x))
        if work is None:
            work = self._workspaces[len(x)] = _Workspace(len(x), self.blocks, self.dtype)
        self._forward(x, work)
        loss = _softmax_cross_entropy(work.y[-1], labels, work.dy[-1])
        self._backward(x, work)
        self._update()
        return loss

    def _forward(self, x: Array, work: _Workspace) -> None:
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            z, y = work.z[i], work.y[i]
            np.matmul(x, block.weight, out=z)
            if block.bias is not None:
                z += block.bias
            if block.gamma is not None:
                mean, var = _center(z, work.ones)
                self._track(i, mean, var, len(x))
                np.divide(1, np.sqrt(var + self.eps), out=work.invstd[i])
                np.multiply(z, block.gamma * work.invstd[i], out=y)
                y += block.beta
            if i < last:
                np.maximum(y, 0, out=y)
            x = y

    def _backward(self, x: Array, work: _Workspace) -> None:
        last = len(self.blocks) - 1
        for i in range(last, -1, -1):
            block, grad, dy = self.blocks[i], self.grads[i], work.dy[i]
            if i < last:
                np.greater(work.y[i], 0, out=work.mask[i])
                dy *= work.mask[i]
            if block.gamma is not None:
                _batch_norm_backward(dy, work.z[i], work.invstd[i], block.gamma, grad, work.ones)
            if grad.bias is not None:
                np.matmul(work.ones, dy, out=grad.bias)
            source = work.y[i - 1] if i else x
            np.matmul(source.T, dy, out=grad.weight)
            if i:
                np.matmul(dy, block.weight.T, out=work.dy[i - 1])

    def _track(self, i: int, mean: Array, var: Array, n: int) -> None:
        m = self.bn_momentum
        self.running_mean[i] += m * (mean - self.running_mean[i])
        self.running_var[i] += m * (var * (n / max(n - 1, 1)) - self.running_var[i])

    # -- optimizers ------------------------------------------------------------------------------

    def _update(self) -> None:
        self._steps += 1
        if self.weight_decay:
            self._decay()
        update = self._update_sgd if self.optimizer == "sgd" else self._update_adam
        for p, g, *state in self._chunks:
            update(p, g, self._scratch[: p.size], *state)

    def _decay(self) -> None:
        for block, grad in zip(self.blocks, self.grads, strict=True):
            if self.optimizer == "adamw":
                block.weight *= 1 - self.lr * self.weight_decay
            else:
                grad.weight += self.weight_decay * block.weight

    def _update_sgd(self, p: Array, g: Array, scratch: Array, velocity: Array) -> None:
        velocity *= self.momentum
        velocity += g
        np.multiply(velocity, self.lr, out=scratch)
        p -= scratch

    def _update_adam(self, p: Array, g: Array, scratch: Array, m: Array, v: Array) -> None:
        beta1, beta2, eps = 0.9, 0.999, 1e-8
        np.multiply(g, 1 - beta1, out=scratch)
        m *= beta1
        m += scratch
        np.square(g, out=g)
        g *= 1 - beta2
        v *= beta2
        v += g
        np.sqrt(v, out=scratch)
        scratch /= np.sqrt(1 - beta2**self._steps)
        scratch += eps
        np.divide(m, scratch, out=scratch)
        scratch *= self.lr / (1 - beta1**self._steps)
        p -= scratch

    # -- inference -------------------------------------------------------------------------------

    def predict(self, x: Array) -> Array:
        """Compute the logits with the running statistics.

        Parameters
        ----------
        x : ndarray, shape (n, features)

        Returns
        -------
        ndarray, shape (n, classes)
        """
        y = np.asarray(x, self.dtype)
        for i, block in enumerate(self.blocks):
            y = y @ block.weight
            if block.bias is not None:
                y += block.bias
            if block.gamma is not None:
                scale = block.gamma / np.sqrt(self.running_var[i] + self.eps)
                y -= self.running_mean[i]
                y *= scale
                y += block.beta
            if i < len(self.blocks) - 1:
                np.maximum(y, 0, out=y)
        return y


class _Workspace:
    """The arrays of one batch size: centred values z, outputs y, gradients dy, masks of ReLU."""

    def __init__(self, n: int, blocks: Sequence[Block], dtype: DTypeLike) -> None:
        shapes = [(n, b.weight.shape[1]) for b in blocks]
        self.y = [np.empty(s, dtype) for s in shapes]
        self.z = [
            np.empty(s, dtype) if b.gamma is not None else y
            for s, b, y in zip(shapes, blocks, self.y, strict=True)
        ]
        self.dy = [np.empty(s, dtype) for s in shapes]
        self.mask = [np.empty(s, bool) for s in shapes[:-1]]
        self.ones = np.ones(n, dtype)
        self.invstd = [np.empty(s[1], dtype) for s in shapes]


def _views(blocks: Sequence[Block], flat: Array) -> list[Block]:
    """Return the same blocks, their arrays as views of consecutive parts of `flat`."""
    start = 0

    def view(a: Array | None) -> Array | None:
        nonlocal start
        if a is None:
            return None
        start += a.size
        return flat[start - a.size : start].reshape(a.shape)

    views = []
    for b in blocks:
        weight = view(b.weight)
        assert weight is not None
        views.append(Block(weight, view(b.bias), view(b.gamma), view(b.beta)))
    return views


def _center(z: Array, ones: Array) -> tuple[Array, Array]:
    """Subtract the mean of the columns of `z` in place; return it and the variance."""
    mean = ones @ z
    mean /= len(z)
    z -= mean
    var: Array = np.einsum("ij,ij->j", z, z)
    var /= len(z)
    return mean, var


def _batch_norm_backward(
    dy: Array, z: Array, invstd: Array, gamma: Array, grad: Block, ones: Array
) -> None:
    """Turn the gradient `dy` of gamma * z * invstd + beta into that of the values before, in place.

    `z` holds the centred values and is overwritten.
    """
    assert grad.gamma is not None
    assert grad.beta is not None
    n = len(dy)
    np.matmul(ones, dy, out=grad.beta)
    np.einsum("ij,ij->j", dy, z, out=grad.gamma)
    grad.gamma *= invstd
    z *= grad.gamma * invstd / n
    dy -= grad.beta / n
    dy -= z
    dy *= gamma * invstd


def _softmax_cross_entropy(logits: Array, labels: Array, dlogits: Array) -> float:
    """Return the mean cross-entropy, and write its gradient to `dlogits`."""
    rows = np.arange(len(labels))
    np.subtract(logits, logits.max(axis=1, keepdims=True), out=dlogits)
    picked = dlogits[rows, labels].copy()
    np.exp(dlogits, out=dlogits)
    total = dlogits.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(total[:, 0]) - picked))
    dlogits /= total
    dlogits[rows, labels] -= 1
    dlogits /= len(labels)
    return loss
