"""Optimizers: they change parameters by their gradients, a segment at a time (segments.py)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from fastbn import _core
from fastbn.layers.parameter import Parameter
from fastbn.layers.state import staged
from fastbn.segments import Segment, Segments

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]

_DECAY = attrgetter("decay")


class Optimizer(ABC):
    """Segments, state and its saving, which all optimizers share.

    A subclass names its hyperparameters and the arrays that it keeps, sets the former before it
    calls `Optimizer.__init__`, and updates a segment in `_update`.  Hyperparameters are attributes
    that may be set between steps, `lr` above all; what is out of range or does not fit the others
    is a ValueError then, what is no int or float of Python or NumPy a TypeError.  An array of one
    element is read when it is set, not again.

    Attributes
    ----------
    params : tuple of Parameter
        Those that it was made with.  It keeps to them: moments of another age would be corrected
        by the wrong count of steps.  For others make another optimizer.
    lr : float
        The learning rate.
    steps : int
        How many updates were made.
    """

    hyperparameters: ClassVar[tuple[str, ...]]
    # Half-open; a subclass may add its own here and below, and what has no range is not checked.
    # eps is never 0: 0 / (sqrt(0) + 0) of the padding and of units that are never active would be
    # NaN.
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "lr": (0.0, math.inf),
        "momentum": (0.0, 1.0),
        "beta1": (0.0, 1.0),
        "beta2": (0.0, 1.0),
        "eps": (math.ulp(0.0), math.inf),
        "weight_decay": (0.0, math.inf),
        "steps": (0, math.inf),
    }
    # Kinds of dtype that a number may have; "iuf", an int or a float, where nothing is said.
    kinds: ClassVar[Mapping[str, str]] = {"steps": "iu", "nesterov": "b"}

    lr: float
    weight_decay: float

    def __init__(
        self, params: Iterable[Parameter], state_names: tuple[str, ...], decay_exempt: bool
    ) -> None:
        self._params = tuple(params)
        _check_parameters(self._params)
        self.decay_exempt = decay_exempt
        self.steps = 0
        missing = [name for name in self.hyperparameters if not hasattr(self, name)]
        if missing:
            raise TypeError(f"{type(self).__name__} must set {missing} before Optimizer.__init__")
        self._state_names = state_names
        self._check(self._numbers())
        self._segments = Segments(self._params, state_names)

    @property
    def params(self) -> tuple[Parameter, ...]:
        """The parameters that it was made with."""
        return self._params

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "steps" or name in self.hyperparameters:
            value = self._number(name, value)
            if "_state_names" in vars(self):  # it is complete
                self._check(self._numbers() | {name: value})
        super().__setattr__(name, value)

    def step(self) -> None:
        """Update all parameters in place by their present gradients."""
        count = self.steps + 1
        for segment in self._segments.settled(self._decays()):
            self._update(segment, count, self.weight_decay if segment.decay else 0.0)
        vars(self)["steps"] = count  # no need to check it

    @abstractmethod
    def _update(self, segment: Segment, step: int, weight_decay: float) -> None: ...

    def _number(self, name: str, value: Any) -> float:
        """Read the number of that name; in a file it may have become an array of one element."""
        number: float = value
        if type(value) is not float or name in self.kinds:
            number = _one_number(name, value, self.kinds.get(name, "iuf"))
        if name in self.ranges:
            low, high = self.ranges[name]
            if not low <= number < high:
                raise ValueError(f"{name} must lie in [{low}, {high}), got {number}")
        return number

    def _check(self, numbers: Mapping[str, float]) -> None:
        """Refuse hyperparameters that do not fit one another or the state that is kept."""
        return  # any do, unless a subclass says otherwise

    # -- saving --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copy the whole state.

        Returns
        -------
        dict
            ``steps`` and the hyperparameters as numbers; the arrays as "velocity.0", "velocity.1"
            and so on by the places of the parameters in `params`, wherever they lie.
        """
        live = self._segments.state(self._decays())
        return self._numbers() | {name: array.copy() for name, array in live.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from where `state_dict` was called, with its hyperparameters.

        Parameters
        ----------
        state : mapping
            As from `state_dict`; a number may be an array of one element.

        Raises
        ------
        ValueError
            If names are missing or unknown, a shape differs or a number is out of range or does
            not fit the others.  Nothing is changed then.
        TypeError
            If a dtype differs or a number is of another kind.  Nothing is changed then.
        """
        live, names = self._segments.state(self._decays()), self._numbers().keys()
        missing = [name for name in names if name not in state]
        if missing:
            raise ValueError(f"state does not fit: missing {missing}")
        numbers = {name: self._number(name, state[name]) for name in names}
        self._check(numbers)
        arrays = staged(live, {name: state[name] for name in state if name not in names})
        vars(self).update(numbers)
        for name, array in live.items():
            array[...] = arrays[name]

    def _numbers(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("steps", *self.hyperparameters)}

    def _decays(self) -> list[bool]:
        """Whether each parameter takes weight decay; empty where there is none."""
        if not self.weight_decay > 0:
            return []
        return list(map(_DECAY, self.params)) if self.decay_exempt else [True] * len(self.params)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={getattr(self, name)}" for name in self.hyperparameters)
        return f"{type(self).__name__}({len(self.params)} parameters, {numbers})"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    ``g = grad + weight_decay * p``; ``v = momentum * v + g``; ``p -= lr * v``, or with Nesterov's
    momentum ``p -= lr * (g + momentum * v)``.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Learning rate.
    momentum : float
        Part of the last update that goes into this one, 0 <= momentum < 1.  Made with 0 it keeps no
        velocity, and momentum stays 0.
    nesterov : bool
        Only with momentum above 0.
    weight_decay : float
        Weight of the penalty ``weight_decay / 2 * sum(p**2)``.
    decay_exempt : bool
        Spare the parameters whose `decay` is False, which are gamma, beta and biases.

    Raises
    ------
    ValueError
        If a number is out of range, there are no parameters or one occurs twice, or `nesterov`
        comes without momentum.
    TypeError
        If a number is something else, or a parameter is no `Parameter`.

    Notes
    -----
    As ``torch.optim.SGD`` without dampening (Sutskever et al., 2013), but for `decay_exempt`.
    """

    hyperparameters = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        decay_exempt: bool = True,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        super().__init__(params, ("velocity",) if self.momentum else (), decay_exempt)

    def _check(self, numbers: Mapping[str, float]) -> None:
        momentum = numbers["momentum"]
        if numbers["nesterov"] and not momentum:
            raise ValueError(f"nesterov needs momentum above 0, got {momentum}")
        if momentum and not self._state_names:
            raise ValueError(
                f"momentum is {momentum}, but this SGD was made with 0 and keeps no velocity; make "
                "another"
            )

    def _update(self, segment: Segment, step: int, weight_decay: float) -> None:
        _core.sgd_update(
            segment.data,
            segment.grad,
            segment.state.get("velocity"),
            self.lr,
            self.momentum,
            self.nesterov,
            weight_decay,
            segment.ends,
            segment.cols,
        )


class Adam(Optimizer):
    """Steps scaled by running averages of the gradient and of its square.

    ``m = beta1 * m + (1 - beta1) * g``; ``v = beta2 * v + (1 - beta2) * g**2``;
    ``p -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, with
    ``g = grad + weight_decay * p``.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Learning rate.
    betas : (float, float)
        beta1 and beta2, 0 <= beta < 1.
    eps : float
        Positive.
    weight_decay : float
        Weight of the penalty ``weight_decay / 2 * sum(p**2)``, whose gradient is scaled with the
        rest; `AdamW` does better.
    decay_exempt : bool
        Spare the parameters whose `decay` is False, which are gamma, beta and biases.

    Raises
    ------
    ValueError
        If a number is out of range, there are no parameters or one occurs twice.
    TypeError
        If a number is something else, or a parameter is no `Parameter`.

    Notes
    -----
    Kingma and Ba, 2015 (arXiv:1412.6980), with the defaults of ``torch.optim.Adam``.
    """

    hyperparameters = ("lr", "beta1", "beta2", "eps", "weight_decay")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decay_exempt: bool = True,
    ) -> None:
        self.lr = lr
        self.beta1 = betas[0]
        self.beta2 = betas[1]
        self.eps = eps
        self.weight_decay = weight_decay
        super().__init__(params, ("m", "v"), decay_exempt)

    def _update(self, segment: Segment, step: int, weight_decay: float) -> None:
        _core.adam_update(
            segment.data,
            segment.grad,
            segment.state["m"],
            segment.state["v"],
            step=step,
            lr=self.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=weight_decay,
            decoupled=self.decoupled,
            ends=segment.ends,
            cols=segment.cols,
        )


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: ``p -= lr * weight_decay * p`` each step.

    Parameters
    ----------
    params, lr, betas, eps, decay_exempt
        As in `Adam`.
    weight_decay : float
        Part of a parameter that a step of rate 1 takes away.

    Raises
    ------
    ValueError, TypeError
        As `Adam`.

    Notes
    -----
    Loshchilov and Hutter, 2019 (arXiv:1711.05101), with the defaults of ``torch.optim.AdamW``.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        decay_exempt: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay_exempt=decay_exempt)


def _one_number(name: str, value: Any, kinds: str) -> Any:
    """`value`, of any shape with one element and of these kinds of dtype, as a Python number."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise TypeError(f"{name} is one number, got {value!r}") from error
    if array.size != 1 or array.dtype.kind not in kinds:
        raise TypeError(
            f"{name} is one number, got {value!r} ({array.dtype} of shape {array.shape})"
        )
    return array.item()


def _check_parameters(params: tuple[Parameter, ...]) -> None:
    if not params:
        raise ValueError("an optimizer needs parameters, got none")
    for parameter in params:
        if not isinstance(parameter, Parameter):
            raise TypeError(f"an optimizer takes Parameters, got {type(parameter).__name__}")
    if len(set(map(id, params))) != len(params):
        raise ValueError("a parameter occurs twice and would be updated twice")
