"""The fused block: Linear, BatchNorm1d and, if it follows, ReLU in one kernel call each way."""

from __future__ import annotations

from typing import Any

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import ReLU
from fastbn.layers.batchnorm import BatchNorm1d
from fastbn.layers.check import check_gradient, check_input
from fastbn.layers.linear import Linear
from fastbn.layers.parameter import Parameter

__all__ = ["Block"]


class Block:
    """Layers that a `Sequential` runs as one, to the same bits.

    The kernel goes panel by panel through the columns of the product, so that batch normalization
    and ReLU find them in cache.  Each layer keeps what it would have kept alone, so that a user may
    walk back over the layers by hand.  What the kernel does not do (ghost batches, other than two
    dimensions, empty batches) the layers do one by one.
    """

    def __init__(self, linear: Linear, norm: BatchNorm1d, relu: ReLU | None = None) -> None:
        self._linear, self._norm, self._relu = linear, norm, relu
        self._ran: tuple[Any, Any] | None = None  # what the layers kept of the last fused forward
        self._fit = linear.dtype == norm.dtype and linear.out_features == norm.num_features

    def with_relu(self, relu: ReLU) -> Block | None:
        """Make the block that ends in `relu`; None if this one does already."""
        return Block(self._linear, self._norm, relu) if self._relu is None else None

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """All layers' forward.  The `Sequential` has had them forget the last one."""
        return self._train(x) if training else self._infer(x)

    def backward(self, dy: Array) -> Array:
        """All layers' backward."""
        dx = self._backward(dy, need_dx=True)
        assert dx is not None
        return dx

    def backward_parameters(self, dy: Array) -> None:
        """All layers' backward without dx."""
        self._backward(dy, need_dx=False)

    def parameters(self) -> list[Parameter]:
        """Parameters of the layers."""
        return self._linear.parameters() + self._norm.parameters()

    def forget(self) -> None:
        """Drop what the layers keep of the last training forward."""
        self._ran = None
        self._linear.forget()
        self._norm.forget()
        if self._relu is not None:
            self._relu.forget()

    # -- forward -------------------------------------------------------------------------------

    def _infer(self, x: Array) -> Array:
        linear, norm = self._linear, self._norm
        if norm.running_mean is None or norm.running_var is None or not self._fits(x):
            return self._norm_forward(linear.forward(x), training=False)
        x = check_input(linear, x, linear.in_features, axis=-1)
        bias = None if linear.bias is None else linear.bias.data
        return _core.linear_batch_norm_inference(
            x,
            linear.weight.data,
            bias,
            *norm._affine(),
            norm.running_mean,
            norm.running_var,
            norm.eps,
            self._relu is not None,
        )

    def _fits(self, x: Array) -> bool:
        return self._fit and getattr(x, "ndim", 0) == 2 and len(x) > 0

    def _train(self, x: Array) -> Array:
        linear, norm, relu = self._linear, self._norm, self._relu
        if not self._fits(x) or norm.virtual_batch_size is not None:
            return self._norm_forward(linear.forward(x, training=True), training=True)
        x = check_input(linear, x, linear.in_features, axis=-1)
        y, cache = _core.linear_batch_norm(
            x,
            linear.weight.data,
            None if linear.bias is None else linear.bias.data,
            None if norm.gamma is None else norm.gamma.data,
            None if norm.beta is None else norm.beta.data,
            norm.running_mean,
            norm.running_var,
            norm.momentum,
            norm.eps,
            True,  # the unbiased variance enters the running one, as in PyTorch
            relu is not None,
            linear._y,
            norm._y,
            norm.num_batches_tracked,
        )
        self._ran = ran = (x.shape, x), (cache, None if relu is None else "relu")
        linear._saved, norm._saved = ran
        if relu is not None:
            relu._saved = y
        return y

    def _norm_forward(self, z: Array, *, training: bool) -> Array:
        if self._relu is None:
            return self._norm.forward(z, training=training)
        return self._norm._forward_relu(z, self._relu, training=training)

    # -- backward ------------------------------------------------------------------------------

    def _backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        linear, norm = self._linear, self._norm
        ran = self._ran
        if ran is None or linear._saved is not ran[0] or norm._saved is not ran[1]:
            # Not fused, or a layer has been called alone since; or not at all: then nothing is
            # written.
            linear._recall(), norm._recall()
            return linear.backward(self._norm_backward(dy), need_dx=need_dx)
        (_, x), (cache, _) = ran
        dy = check_gradient(norm, dy, (len(x), linear.out_features))
        return _core.linear_batch_norm_backward(
            dy,
            x,
            linear.weight.data,
            cache,
            need_dx,
            linear.bias is not None,
            linear._dx,
            norm._dx,
            linear.weight.grad,
            None if linear.bias is None else linear.bias.grad,
            None if norm.gamma is None else norm.gamma.grad,
            None if norm.beta is None else norm.beta.grad,
        )[0]

    def _norm_backward(self, dy: Array) -> Array:
        if self._relu is None:
            return self._norm.backward(dy)
        return self._norm._backward_relu(dy, self._relu)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the last training step out of copies and pickles."""
        return {**vars(self), "_ran": None}
