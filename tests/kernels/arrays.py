"""What tests of every kernel share: random arrays, their bits, the numbers of threads to try."""

from typing import Any

import numpy as np

THREADS = (1, 2, 3, 7)


def bits(*arrays: np.ndarray) -> bytes:
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def normal(rng: np.random.Generator, *shape: int, dtype: Any) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)
