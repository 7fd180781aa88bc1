"""Gradients by central differences in float64."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP, RTOL, ATOL = 1e-6, 1e-3, 1e-5  # those of PyTorch's gradcheck


def assert_gradients(
    loss: Callable[[], float],
    parameters: Iterable[NDArray[Any]],
    gradients: Iterable[NDArray[Any]],
) -> None:
    """Change each element of each parameter in place, both ways, and back."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for position in np.ndindex(parameter.shape):
            kept, losses = parameter[position], []
            for sign in (1, -1):
                parameter[position] = kept + sign * STEP
                losses.append(loss())
            parameter[position] = kept
            difference = (losses[0] - losses[1]) / (2 * STEP)
            np.testing.assert_allclose(gradient[position], difference, rtol=RTOL, atol=ATOL)
