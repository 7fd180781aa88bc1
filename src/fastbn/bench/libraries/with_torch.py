"""PyTorch: products, batch normalization and training steps, eager and compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from fastbn.bench.images import Batches, Images
from fastbn.bench.libraries.base import (
    LEARNING_RATE,
    SGD_MOMENTUM,
    FirstLosses,
    Job,
    Library,
    fastest,
    product_of,
)
from fastbn.bench.operands import EPS, MOMENTUM, NormalizationOperands, ProductOperands
from fastbn.bench.shapes import Normalization, Product, TrainingStep
from fastbn.train.numpy_baseline import Block


class WithTorch(Library):
    """Eager."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # Any: the types of a library that is not required are not checked.
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(threads)

    def version(self) -> str:
        return f"PyTorch {self.torch.__version__} {self.torch.backends.cpu.get_cpu_capability()}"

    def threads_in_force(self) -> int:
        return int(self.torch.get_num_threads())

    def product(self, case: Product, operands: ProductOperands) -> Job | None:
        torch = self.torch
        a, b, c = (torch.from_numpy(array) for array in (operands.a, operands.b, operands.c))
        return Job(lambda: torch.mm(a, b, out=c), product_of(operands))

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> Job | None:
        """Call the operator itself, without the module and without gradients around it."""
        normalization = _Normalization(self.torch, case, operands)
        if case.operation == "backward":
            return normalization.backward()
        return fastest([normalization.forward(), normalization.forward_into()])

    def training(self, case: TrainingStep, blocks: Sequence[Block], images: Images) -> Job | None:
        ways: tuple[dict[str, bool], ...] = ({"foreach": True}, {"fused": True})
        return fastest([self._steps(case, blocks, images, way) for way in ways])

    def _steps(
        self, case: TrainingStep, blocks: Sequence[Block], images: Images, way: dict[str, bool]
    ) -> Job:
        torch = self.torch
        net = _net(torch, blocks)
        optimizer = torch.optim.SGD(
            net.parameters(), lr=LEARNING_RATE, momentum=SGD_MOMENTUM, **way
        )
        train = self._step(net, optimizer)
        samples, labels = torch.from_numpy(images.x), torch.from_numpy(images.y)
        x = torch.empty((case.batch, case.sizes[0]), dtype=samples.dtype)
        batches, losses = Batches(len(images.x), case.batch), FirstLosses()

        def step() -> None:
            rows = torch.from_numpy(batches.next())
            torch.index_select(samples, 0, rows, out=x)
            losses.add(train(x, labels[rows]).item())

        return Job(step, losses.values)

    def _step(self, net: Any, optimizer: Any) -> Callable[[Any, Any], Any]:
        cross_entropy = self.torch.nn.functional.cross_entropy

        def train(x: Any, y: Any) -> Any:
            loss = cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return train


class WithTorchCompile(WithTorch):
    """`torch.compile` of forward and loss; training alone.

    It needs a C++ compiler, and takes most of a minute for each batch size.
    """

    def version(self) -> str:
        return f"torch.compile of {super().version()}"

    def product(self, case: Product, operands: ProductOperands) -> None:
        return None

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> None:
        return None

    def _step(self, net: Any, optimizer: Any) -> Callable[[Any, Any], Any]:
        torch = self.torch
        cross_entropy = torch.nn.functional.cross_entropy
        torch.compiler.reset()
        forward = torch.compile(lambda x, y: cross_entropy(net(x), y), dynamic=False)

        def train(x: Any, y: Any) -> Any:
            loss = forward(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return train


class _Normalization:
    """Operands as tensors; channels last is a permuted view, as PyTorch has it."""

    def __init__(self, torch: Any, case: Normalization, operands: NormalizationOperands) -> None:
        self._torch = torch
        self._channels_last = case.axis == -1 and len(case.shape) > 2
        self._x, self._dy = (self._view(torch.from_numpy(a)) for a in (operands.x, operands.dy))
        self._gamma, self._beta = torch.from_numpy(operands.gamma), torch.from_numpy(operands.beta)
        self._mean = torch.from_numpy(operands.running_mean.copy())
        self._var = torch.from_numpy(operands.running_var.copy())
        self._training = case.operation != "inference"

    def _view(self, tensor: Any) -> Any:
        return tensor.permute(0, 3, 1, 2) if self._channels_last else tensor

    def _array(self, tensor: Any) -> Any:
        return (tensor.permute(0, 2, 3, 1) if self._channels_last else tensor).numpy()

    def _arguments(self) -> tuple[Any, ...]:
        given = self._x, self._gamma, self._beta, self._mean, self._var
        return (*given, self._training, MOMENTUM, EPS)

    def forward(self) -> Job:
        """Let it allocate its results."""
        torch, arguments = self._torch, self._arguments()
        call = torch.native_batch_norm

        def run() -> Any:
            with torch.no_grad():
                return call(*arguments)

        return Job(run, lambda: [self._array(run()[0])])

    def forward_into(self) -> Job:
        """Let it write into memory that is there."""
        torch, arguments = self._torch, self._arguments()
        call = torch.native_batch_norm
        channels = len(self._gamma) if self._training else 0
        out = (
            torch.empty_like(self._x),
            torch.empty(channels, dtype=self._x.dtype),
            torch.empty(channels, dtype=self._x.dtype),
        )

        def run() -> Any:
            with torch.no_grad():
                return call(*arguments, out=out)

        return Job(run, lambda: [self._array(out[0])])

    def backward(self) -> Job:
        """Gradients, from the statistics that the forward pass left."""
        torch = self._torch
        with torch.no_grad():
            _, mean, invstd = torch.native_batch_norm(*self._arguments())
        call = torch.ops.aten.native_batch_norm_backward
        given = (self._dy, self._x, self._gamma, self._mean, self._var, mean, invstd)
        arguments = (*given, True, EPS, [True, True, True])

        def run() -> Any:
            with torch.no_grad():
                return call(*arguments)

        def results() -> list[Any]:
            dx, dgamma, dbeta = run()
            return [self._array(dx), dgamma.numpy(), dbeta.numpy()]

        return Job(run, results)


def _net(torch: Any, blocks: Sequence[Block]) -> Any:
    """Build the net with the given parameters; PyTorch's weights are (out, in)."""
    layers: list[Any] = []
    for block in blocks:
        n_in, n_out = block.weight.shape
        linear = torch.nn.Linear(n_in, n_out, bias=block.bias is not None)
        linear = linear.to(torch.from_numpy(block.weight).dtype)
        linear.weight.data.copy_(torch.from_numpy(block.weight.T.copy()))
        layers.append(linear)
        if block.bias is not None:
            linear.bias.data.copy_(torch.from_numpy(block.bias))
        if block.gamma is not None:
            layers += [torch.nn.BatchNorm1d(n_out, dtype=linear.weight.dtype), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)
