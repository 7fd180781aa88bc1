"""The oracles of optimizer updates: results and bounds on their errors, to first order in u."""

from typing import Any

import numpy as np

from .bounds import oracle_dtype, smallest, unit_roundoff


def drawn(rng: np.random.Generator, count: int, *shape: int, dtype: Any) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(dtype) for _ in range(count)]


def sgd_oracle(
    p: np.ndarray, g: np.ndarray, v: np.ndarray | None, **o: Any
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(p, its bound), (v, its bound)."""
    dtype = p.dtype.type
    u, wide = unit_roundoff(dtype), oracle_dtype(dtype)
    p, g = p.astype(wide), g.astype(wide)
    decay = o["weight_decay"] * p
    direction = g + decay
    # Each constant is rounded, and its product; each sum once.
    error = 2 * u * abs(decay) + u * abs(direction)
    new_v, v_error = direction, error
    if v is not None:
        old = o["momentum"] * v.astype(wide)
        new_v = old + direction
        v_error = error + 2 * u * abs(old) + u * abs(new_v)
        if o["nesterov"]:
            ahead = o["momentum"] * new_v
            error = error + 2 * u * abs(ahead) + o["momentum"] * v_error
            direction = direction + ahead
            error = error + u * abs(direction)
        else:
            direction, error = new_v, v_error
    step = o["lr"] * direction
    new_p = p - step
    p_error = o["lr"] * error + 2 * u * abs(step) + u * abs(new_p)
    lost = 4 * smallest(dtype)
    return (new_p, p_error * 1.01 + lost), (new_v, v_error * 1.01 + lost)


def adam_oracle(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, **o: Any
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(p, its bound), (m, its bound), (v, its bound)."""
    dtype = p.dtype.type
    u, wide = unit_roundoff(dtype), oracle_dtype(dtype)
    p, g, m, v = (a.astype(wide) for a in (p, g, m, v))
    b1, b2, wd, lr = (wide(o[k]) for k in ("beta1", "beta2", "weight_decay", "lr"))
    g_error = 0 * g
    if o["decoupled"]:
        p = p * (1 - lr * wd)
    else:
        g_error = 2 * u * abs(wd * p)
        g = g + wd * p
        g_error = (g_error + u * abs(g)) if o["weight_decay"] else g_error
    lost = 4 * smallest(dtype)
    new_m = b1 * m + (1 - b1) * g
    m_error = 2 * u * (abs(b1 * m) + abs((1 - b1) * g)) + (1 - b1) * g_error + u * abs(new_m) + lost
    new_v = b2 * v + (1 - b2) * g * g
    v_error = 3 * u * new_v + 2 * (1 - b2) * abs(g) * g_error + u * new_v + lost
    root = np.sqrt(new_v) / np.sqrt(1 - b2**step)
    denominator = root + o["eps"]
    with np.errstate(divide="ignore", invalid="ignore"):
        r_root = np.where(new_v > 0, v_error / (2 * new_v), 0)  # a root halves relative errors
    d_error = root * (r_root + 3 * u) + u * o["eps"] + u * denominator
    update = lr / (1 - b1**step) * new_m / denominator
    scale = lr / (1 - b1**step) / denominator
    u_error = scale * m_error + abs(update) * (d_error / denominator + 3 * u)
    new_p = p - update
    p_error = u_error + 2 * u * abs(p) + u * abs(new_p) + lost
    return tuple((a, e * 1.01) for a, e in ((new_p, p_error), (new_m, m_error), (new_v, v_error)))
