"""Kernels on operands that end, then start, at a page that must not be touched.

Run by the tests as a process of its own, `python -m kernels.guard_pages <operation> <target>` in
their folder: an access too far is a SIGSEGV, and faulthandler says in which call.
"""

import faulthandler
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastbn import _core

from .memory import GuardedPages

PAGES = [GuardedPages(5 << 18) for _ in range(8)]


def placed(*arrays: np.ndarray, at_end: bool) -> list[np.ndarray]:
    """Copy each array to pages of its own."""
    return [page.put(x, at_end=at_end) for x, page in zip(arrays, PAGES, strict=False)]


def check_gemm(dtype: Any, rng: np.random.Generator) -> None:
    """All products up to a tile and one more, and some of two tiles and of more than one block."""
    small = itertools.product(range(1, 10), (*range(1, 20), 24, 25, 32, 33, 47, 48, 49), (1, 2, 3))
    large = itertools.product((1, 8, 17), (7, 48, 97, 208), (16, 17, 257, 300, 520))
    packed = ((130, 97, 257),)
    packed_ahead = itertools.product((130,), (337, 345, 351), (140,))  # the next panel of B
    all_threads = _core.get_num_threads()
    # Of one thread, on deep cores: blocks of A, each of which has B packed anew, and strips of an A
    # of floats that pass groups of panels.  (One of doubles would be larger than PAGES.)
    streams = ((200, 200, 1024), (200, 150, 1024)) if dtype == np.float32 else ((200, 150, 512),)
    # On deep cores, a B of more than half of 2 MiB, which is read by pairs of lines.
    pairs = ((m, 512 // np.dtype(dtype).itemsize, 2050) for m in (7, 9, 25))
    # With registers of 32 bytes, rank-4 updates.
    updates = ((m, 2048 // np.dtype(dtype).itemsize, 262) for m in (1, 7, 8))
    by_rows = itertools.product((64, 65), (49, 97, 208, 1040), (3, 17, 48))  # plain products
    turned = itertools.product(
        (1, 16, 17), (16, 17, 49), (4, 5, 6, 7, 11)
    )  # columns of B contiguous
    every = [(s, False, None, None) for s in itertools.chain(small, large, packed)]
    every += [(s, True, None, None) for s in by_rows] + [(s, True, None, True) for s in turned]
    every += [(s, False, True, False) for s in packed_ahead]
    every += [(s, False, None, False) for s in updates]
    deep = {*streams, *pairs}
    every += [(s, False, False, False) for s in deep]
    for (m, n, k), plain, turn_a, turn_b in every:
        a, b, c, bias = (
            rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n), (m, n), (n,))
        )
        beta = 0.0 if plain else 0.7
        expected = _core.gemm(a, b, c.copy(), beta=beta, bias=None if plain else bias).tobytes()
        sums = _core.column_sums(b).tobytes()
        trans_a, trans_b, trans_c = (bool(t) for t in rng.integers(2, size=3))
        trans_a = trans_a if turn_a is None else turn_a
        trans_b = trans_b if turn_b is None else turn_b
        trans_c = trans_c and (m, n, k) not in deep
        _core.set_num_threads(1 if (m, n, k) in deep else all_threads)
        _core.assume_core("deep" if (m, n, k) in deep else None)
        a, b_in, c = (
            np.ascontiguousarray(x.T) if t else x
            for x, t in ((a, trans_a), (b, trans_b), (c, trans_c))
        )
        for at_end in (True, False):
            pa, pb, pc, pbias, px, psums = placed(a, b_in, c, bias, b, bias, at_end=at_end)
            pc = pc.T if trans_c else pc
            pbias = None if plain else pbias
            _core.gemm(pa, pb, pc, beta=beta, trans_a=trans_a, trans_b=trans_b, bias=pbias)
            assert pc.tobytes() == expected
            assert _core.column_sums(px, psums).tobytes() == sums


def check_batch_norm(dtype: Any, rng: np.random.Generator) -> None:
    """Channels last and first, around the widths of one register and of four."""
    widths = (*range(1, 19), 31, 32, 33, 63, 64, 65, 66)
    shapes = [(rows, width) for rows in (2, 3, 33) for width in widths]
    shapes += [(rows, 2, width) for rows in (2, 33) for width in widths]
    for shape in shapes:
        x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
        gamma, beta, mean = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(3))
        var = rng.random(shape[1]).astype(dtype)
        for training, activation in itertools.product((True, False), (None, "relu")):
            expected = batch_norm_pass([x, gamma, beta, mean, var, dy], training, activation)
            for at_end in (True, False):
                operands = placed(x, gamma, beta, mean, var, dy, x, x, at_end=at_end)
                assert batch_norm_pass(operands, training, activation) == expected


def batch_norm_pass(
    operands: list[np.ndarray], training: bool, activation: str | None
) -> list[bytes]:
    """Forward and backward; y and dx go to the last two operands where there are so many."""
    x, gamma, beta, mean, var, dy = (
        operands[:6] if len(operands) > 6 else [o.copy() for o in operands]
    )
    y_out, dx_out = operands[6:] or (None, None)
    y, cache = _core.batch_norm(
        x, gamma, beta, mean, var, training=training, activation=activation, out=y_out
    )
    # dgamma and dbeta take the place of gamma and beta, which the backward pass does not need.
    dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache, out=dx_out, dgamma=gamma, dbeta=beta)
    return [r.tobytes() for r in (y, mean, var, dx, dgamma, dbeta)]


CHECKS: dict[str, Callable[[Any, np.random.Generator], None]] = {
    "gemm": check_gemm,
    "batch_norm": check_batch_norm,
}


def run(operation: str, target: str) -> None:
    """Check an operation in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kernels.guard_pages", operation, target],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    faulthandler.enable()
    _core.set_target(sys.argv[2])
    for dtype in (np.float32, np.float64):
        CHECKS[sys.argv[1]](dtype, np.random.default_rng(14))
