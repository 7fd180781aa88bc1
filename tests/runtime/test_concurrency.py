"""Threads of Python that call kernels at once."""

import threading

import numpy as np
import pytest

import fastbn
from fastbn import _core


def work(seed: int) -> list[bytes]:
    """The bits of one call of several kernels, large enough for several threads each."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 130, 130), np.float32)
    x = rng.standard_normal((600, 130), np.float32)
    mean, var = np.zeros((2, 130), np.float32)
    y, cache = _core.batch_norm(x, None, None, mean, var, training=True, activation="relu")
    return [
        r.tobytes()
        for r in (
            _core.gemm(a, b),
            _core.gemm(a, b, b.copy(), trans_b=True, beta=1.0, bias=b[0], activation="relu"),
            _core.column_sums(x),
            y, mean, var,
            *_core.batch_norm_backward(x, cache),
        )
    ]  # fmt: skip


def in_threads(count: int, body: object) -> None:
    """Run body(i) in `count` threads that start together; an exception in any is raised here."""
    barrier, errors = threading.Barrier(count), []

    def run(i: int) -> None:
        try:
            barrier.wait()
            body(i)  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    pool = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kernel_threads", [1, 3])
def test_twelve_threads_of_python(threads, kernel_threads):
    threads(kernel_threads)
    expected = [work(seed) for seed in range(12)]

    def body(i: int) -> None:
        for _ in range(50):
            assert work(i) == expected[i]

    in_threads(12, body)


def test_targets_may_change_while_kernels_run(threads):
    """Each call takes the target in force as it starts, and keeps to it."""
    before = _core.get_target()
    targets = _core.available_targets()
    expected: dict[int, set[bytes]] = {}
    for seed in range(4):
        expected[seed] = set()
        for name in targets:
            with fastbn.use_target(name):
                expected[seed].add(work(seed)[0])

    def body(i: int) -> None:
        rng = np.random.default_rng(i)
        if i >= 4:
            for _ in range(500):
                _core.set_target(targets[rng.integers(len(targets))])
                _core.set_num_threads(int(rng.integers(1, 4)))
        else:
            for _ in range(50):
                assert work(i)[0] in expected[i]

    try:
        in_threads(6, body)
    finally:
        _core.set_target(before)
