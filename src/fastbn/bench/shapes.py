"""What is measured: products, batch normalizations and training steps, by batch size.

A product is (m, n, k) of C[m, n] = A[m, k] B[k, n].  For a layer of (fan_in, fan_out) at batch b:

    NN  forward           Y[b, out]   = X[b, in] W[in, out]
    NT  gradient of x     dX[b, in]   = dY[b, out] W.T
    TN  gradient of W     dW[in, out] = X.T dY[b, out]
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

Layout: TypeAlias = Literal["NN", "NT", "TN"]
Operation: TypeAlias = Literal["forward", "backward", "inference"]

SUITES = ("gemm", "batchnorm", "training")

# Multiples of 8, and sizes beside them that show what multiples of 8 are worth.
BATCHES = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048)
NEIGHBOURS = (7, 9, 31, 33, 100)
QUICK_BATCHES = (8, 96, 1024)
QUICK_NEIGHBOURS = (7, 100)

LAYOUTS: tuple[Layout, ...] = ("NN", "NT", "TN")
LAYERS = ((784, 256), (256, 128), (128, 10), (512, 512), (1024, 1024))
PRODUCT_BATCHES = (8, 16, 32, 64, 96, 128, 256, 512, 1024)
# Layers and batches that no constant of the kernels was chosen by.
UNTUNED = tuple(
    (layer, batch)
    for layer in ((300, 200), (640, 384), (100, 1000), (2048, 320))
    for batch in (24, 40, 200, 720)
)
SQUARES = (64, 128, 256, 384, 512, 768, 1024, 2048)

OPERATIONS: tuple[Operation, ...] = ("forward", "backward", "inference")
CHANNELS = (64, 256, 1024)
LARGE_BATCH = (16384, 256)
# (shape, channel axis): three of (N, C, H, W), two of (N, H, W, C)
IMAGES: tuple[tuple[tuple[int, ...], int], ...] = (
    ((8, 64, 56, 56), 1),
    ((32, 256, 14, 14), 1),
    ((16, 23, 15, 15), 1),
    ((32, 32, 32, 64), -1),
    ((8, 14, 14, 512), -1),
)

SIZES = (784, 512, 256, 10)


@dataclass(frozen=True)
class Product:
    """One matrix product.

    Attributes
    ----------
    layout : {"NN", "NT", "TN"}
        Which operands lie transposed in memory.
    m, n, k : int
    layer : str
        The layer it belongs to, "784x256", or what else it is.
    batch : int or None
        None where no size is a batch.
    dtype : {"float32", "float64"}
    """

    layout: Layout
    m: int
    n: int
    k: int
    layer: str
    batch: int | None = None
    dtype: str = "float32"
    suite: ClassVar[str] = "gemm"

    @property
    def operation(self) -> str:
        """What the plots of one kind have in common."""
        return self.layout

    @property
    def curve(self) -> str:
        """What the points of one curve have in common."""
        return self.layer

    @property
    def name(self) -> str:
        """Such as "NN 784x256 b=8"."""
        return _named(f"{self.layout} {self.layer}", self.batch, self.dtype)

    @property
    def flop(self) -> float:
        """Additions and multiplications."""
        return 2.0 * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """Size of all operands."""
        return (self.m * self.k + self.k * self.n + self.m * self.n) * _size(self.dtype)


@dataclass(frozen=True)
class Normalization:
    """One batch normalization.

    Attributes
    ----------
    operation : {"forward", "backward", "inference"}
    shape : tuple of int
    axis : {1, -1}
        Of the channels.
    dtype : {"float32", "float64"}
    """

    operation: Operation
    shape: tuple[int, ...]
    axis: int = 1
    dtype: str = "float32"
    suite: ClassVar[str] = "batchnorm"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.axis]

    @property
    def batch(self) -> int | None:
        """Rows of a matrix; None for images, whose sizes are no mini-batches of a small net."""
        return self.shape[0] if len(self.shape) == 2 else None

    @property
    def curve(self) -> str:
        """What the points of one curve have in common."""
        return f"{self.channels} channels" if self.batch else "images"

    @property
    def name(self) -> str:
        """Such as "forward 96x256" or "forward 8x64x56x56 NCHW"."""
        shape = "x".join(map(str, self.shape))
        layout = "" if self.batch else " NCHW" if self.axis == 1 else " NHWC"
        return _named(f"{self.operation} {shape}{layout}", None, self.dtype)

    @property
    def flop(self) -> float:
        """Not what limits it: 0."""
        return 0.0

    @property
    def bytes(self) -> int:
        """Size of its arrays, each of which has to be read or written once.

        Those are x and y, and backward dy, x and dx.
        """
        arrays = 3 if self.operation == "backward" else 2
        return arrays * math.prod(self.shape) * _size(self.dtype)


@dataclass(frozen=True)
class TrainingStep:
    """One training step: forward, backward, update.

    Attributes
    ----------
    batch : int
    sizes : tuple of int
        Features, hidden layers with batch normalization and ReLU, classes.
    dtype : {"float32", "float64"}
    """

    batch: int
    sizes: tuple[int, ...] = SIZES
    dtype: str = "float32"
    suite: ClassVar[str] = "training"
    operation: ClassVar[str] = "step"

    @property
    def curve(self) -> str:
        """What the points of one curve have in common."""
        return "-".join(map(str, self.sizes))

    @property
    def name(self) -> str:
        """Such as "step 784-512-256-10 b=8"."""
        return _named(f"step {self.curve}", self.batch, self.dtype)

    @property
    def weights(self) -> int:
        """Number of parameters, but for the few of biases and batch normalizations."""
        return sum(a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def flop(self) -> float:
        """Of the products: three a layer, but two of the first, whose dx nobody needs."""
        first = self.sizes[0] * self.sizes[1]
        return 2.0 * self.batch * (3 * self.weights - first)

    @property
    def bytes(self) -> int:
        """What the parameters cost at least: five passes.

        The forward pass reads the weights; backward and update read and write weights and momentum
        once, if the gradient goes into the momentum as it is computed.
        """
        return 5 * self.weights * _size(self.dtype)

    @property
    def resident(self) -> int:
        """Size of weights and momentum, which decides the level of cache they are in."""
        return 2 * self.weights * _size(self.dtype)


Case: TypeAlias = Product | Normalization | TrainingStep
_KINDS: dict[str, type[Case]] = {
    "gemm": Product,
    "batchnorm": Normalization,
    "training": TrainingStep,
}


def to_dict(case: Case) -> dict[str, Any]:
    """Return a case as plain values, fit for JSON."""
    return {"suite": case.suite, **dataclasses.asdict(case)}


def from_dict(fields: dict[str, Any]) -> Case:
    """Return the case that `to_dict` was given."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return _KINDS[values.pop("suite")](**values)


def cases(suite: str, *, quick: bool = False, dtype: str = "float32") -> list[Case]:
    """Return all cases of a suite.

    Parameters
    ----------
    suite : {"gemm", "batchnorm", "training"}
    quick : bool
        A selection that takes part of a minute.
    dtype : {"float32", "float64"}

    Raises
    ------
    ValueError
        If the suite is unknown.
    """
    if suite not in SUITES:
        raise ValueError(f"suite must be one of {', '.join(SUITES)}, not {suite!r}")
    if suite == "gemm":
        return [*(quick_products(dtype) if quick else products(dtype, neighbours=True))]
    batches = QUICK_BATCHES + QUICK_NEIGHBOURS if quick else BATCHES + NEIGHBOURS
    if suite == "batchnorm":
        return [*normalizations(sorted(batches), quick=quick, dtype=dtype)]
    return [TrainingStep(batch, dtype=dtype) for batch in sorted(batches)]


def layer_product(layout: Layout, layer: tuple[int, int], batch: int, dtype: str) -> Product:
    """Return the product of `layout` in a layer."""
    fan_in, fan_out = layer
    m, n, k = {
        "NN": (batch, fan_out, fan_in),
        "NT": (batch, fan_in, fan_out),
        "TN": (fan_in, fan_out, batch),
    }[layout]
    return Product(layout, m, n, k, f"{fan_in}x{fan_out}", batch, dtype)


def products(dtype: str = "float32", *, neighbours: bool = False) -> list[Product]:
    """Return the products of layers, some that nothing was tuned on, and squares."""
    batches = sorted(PRODUCT_BATCHES + (NEIGHBOURS if neighbours else ()))
    tuned = [(layer, batch) for layer in LAYERS for batch in batches]
    by_layer = [
        layer_product(layout, layer, batch, dtype)
        for layout in LAYOUTS
        for layer, batch in (*tuned, *UNTUNED)
    ]
    return [*by_layer, *(_square(size, dtype) for size in SQUARES)]


def quick_products(dtype: str = "float32") -> list[Product]:
    """Return few of them."""
    by_layer = [
        layer_product(layout, layer, batch, dtype)
        for layout in LAYOUTS
        for layer in ((784, 256), (128, 10), (512, 512))
        for batch in sorted(QUICK_BATCHES + QUICK_NEIGHBOURS[:1])
    ]
    return [*by_layer, _square(256, dtype)]


def normalizations(
    batches: Sequence[int], *, quick: bool = False, dtype: str = "float32"
) -> list[Normalization]:
    """Return the normalizations of (N, C) by batch size, of many rows, and of images."""
    shapes: list[tuple[tuple[int, ...], int]]
    if quick:
        shapes = [((batch, 256), 1) for batch in batches]
        images = [IMAGES[1]]
    else:
        shapes = [((batch, channels), 1) for channels in CHANNELS for batch in batches]
        images = [(LARGE_BATCH, 1), *IMAGES]
    return [
        Normalization(operation, shape, axis, dtype)
        for operation in OPERATIONS
        for shape, axis in [*shapes, *images]
    ]


def is_neighbour(batch: int | None) -> bool:
    """Whether a batch size is no multiple of 8."""
    return batch is not None and batch % 8 != 0


def _square(size: int, dtype: str) -> Product:
    return Product("NN", size, size, size, f"square {size}", None, dtype)


def _named(text: str, batch: int | None, dtype: str) -> str:
    batch_text = "" if batch is None else f" b={batch}"
    return f"{text}{batch_text}{'' if dtype == 'float32' else f' {dtype}'}"


def _size(dtype: str) -> int:
    return 8 if dtype == "float64" else 4
