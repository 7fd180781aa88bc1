"""The shapes that are measured: layers of small nets by batch sizes, and some not tuned on.

A product is (m, n, k) of C[m, n] = A[m, k] B[k, n].  For a layer of (fan_in, fan_out) at batch b:

    NN  forward           Y[b, out]   = X[b, in] W[in, out]
    NT  gradient of x     dX[b, in]   = dY[b, out] W.T
    TN  gradient of W     dW[in, out] = X.T dY[b, out]
"""

from typing import Literal, NamedTuple

Layout = Literal["NN", "NT", "TN"]
LAYOUTS: tuple[Layout, ...] = ("NN", "NT", "TN")

LAYERS = ((784, 256), (256, 128), (128, 10), (512, 512), (1024, 1024))
BATCHES = (8, 16, 32, 64, 96, 128, 256, 512, 1024)
QUICK_BATCHES = (8, 96, 1024)
# Layers and batches that no constant was chosen by.
UNTUNED = tuple(
    (layer, batch)
    for layer in ((300, 200), (640, 384), (100, 1000), (2048, 320))
    for batch in (24, 40, 200, 720)
)
SQUARES = (64, 128, 256, 384, 512, 768, 1024, 2048)


class Product(NamedTuple):
    """One product of the benchmark."""

    name: str
    layout: Layout
    m: int
    n: int
    k: int

    @property
    def flop(self) -> float:
        """Additions and multiplications."""
        return 2.0 * self.m * self.n * self.k


def layer_product(layout: Layout, layer: tuple[int, int], batch: int) -> Product:
    """Return the product of `layout` in a layer."""
    fan_in, fan_out = layer
    m, n, k = {
        "NN": (batch, fan_out, fan_in),
        "NT": (batch, fan_in, fan_out),
        "TN": (fan_in, fan_out, batch),
    }[layout]
    return Product(f"{layout} {fan_in}x{fan_out} b={batch}", layout, m, n, k)


def products(quick: bool = False) -> list[Product]:
    """Return all products: of layers, untuned ones, squares."""
    batches = QUICK_BATCHES if quick else BATCHES
    result = [
        layer_product(layout, layer, b) for layout in LAYOUTS for layer in LAYERS for b in batches
    ]
    if not quick:
        result += [layer_product(layout, *case) for layout in LAYOUTS for case in UNTUNED]
    squares = (256, 1024) if quick else SQUARES
    return result + [Product(f"square {s}", "NN", s, s, s) for s in squares]
