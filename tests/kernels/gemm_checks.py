"""What the tests of matrix products share."""

from typing import Any

import numpy as np

from fastbn import _core

from . import oracles
from .arrays import bits
from .bounds import gemm_bound
from .memory import LAYOUTS, Padded

LANES = (1, 2, 4, 8, 16)
TILE_N = sorted({n * w + d for w in LANES for n in (1, 2, 3) for d in (-1, 0, 1)} - {0})
FACTORS = (0.0, 1.0, -1.0, 0.7)


class Product:
    """Random operands, in memory of a drawn kind each, and what the product must be."""

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int, int],
        dtype: Any,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        trans_a: bool = False,
        trans_b: bool = False,
        bias: bool = False,
        relu: bool = False,
        layouts: tuple[str, str, str] = ("contiguous", "contiguous", "padded"),
    ) -> None:
        m, n, self.k = shape
        a, b, c = (rng.standard_normal(s).astype(dtype) for s in ((m, self.k), (self.k, n), (m, n)))
        self.bias = rng.standard_normal(n).astype(dtype) if bias else None
        self.alpha, self.relu, self.dtype = alpha, relu, dtype
        self.exact, self.magnitude = oracles.gemm(a, b, c, alpha=alpha, beta=beta, bias=self.bias)
        self.padded = Padded(c.T if layouts[2] == "padded Fortran" else c)
        self.a = LAYOUTS[layouts[0]](a.T if trans_a else a)
        self.b = LAYOUTS[layouts[1]](b.T if trans_b else b)
        self.c = self.padded.view.T if layouts[2] == "padded Fortran" else self.padded.view
        self.options = dict(
            alpha=alpha,
            beta=beta,
            trans_a=trans_a,
            trans_b=trans_b,
            bias=self.bias,
            activation="relu" if relu else None,
        )

    def check(self) -> None:
        result = _core.gemm(self.a, self.b, self.c, **self.options)
        assert result is self.c
        exact = oracles.relu(self.exact) if self.relu else self.exact
        bound = gemm_bound(
            self.k, self.dtype, self.magnitude, alpha=self.alpha, bias=self.bias is not None
        )
        error = abs(result - exact)
        assert (error <= bound).all(), (
            f"error {error.max():.3g} at {np.unravel_index(error.argmax(), error.shape)}, "
            f"bound {bound.max():.3g}: {self.options}"
        )
        assert self.padded.is_intact()


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Options of a product that are not what a test is about."""
    return {
        "alpha": rng.choice(FACTORS, p=(0.1, 0.4, 0.2, 0.3)),
        "beta": rng.choice(FACTORS, p=(0.4, 0.2, 0.2, 0.2)),
        "trans_a": bool(rng.integers(2)),
        "trans_b": bool(rng.integers(2)),
        "bias": bool(rng.integers(2)),
        "relu": bool(rng.integers(2)),
        "layouts": (
            rng.choice(list(LAYOUTS)),
            rng.choice(list(LAYOUTS)),
            rng.choice(["padded", "padded Fortran"]),
        ),
    }


def check_chains(a: Any, b: Any, heights: tuple[int, ...], *, fused: bool) -> None:
    """Products of the first rows of A, so many of them: each element is one chain over k."""
    expected = oracles.one_chain(a, b, fused=fused)
    for m in heights:
        c = Padded(np.full((m, b.shape[1]), np.nan, np.float32))
        _core.gemm(a[:m], b, c.view)
        assert bits(c.view) == bits(expected[:m])
        assert c.is_intact()
