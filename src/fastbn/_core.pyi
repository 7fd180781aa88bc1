"""The compiled module: exact functions over arrays, one per kernel.

Arrays are float32 or float64 (all of one call the same); inputs may have any strides, outputs are
written in place.  Every function checks dtypes, shapes and sizes before it writes anything and
raises TypeError or ValueError naming both values.  Each releases the GIL while its kernel runs, but
`fastbn.matmul` of small matrices.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
# An object, its type, and the names and values of its attributes, `...` for any; or a dict.
Watched: TypeAlias = tuple[tuple[object, type, tuple[str, ...], tuple[Any, ...]], ...]
# The tape of an update, what it holds for, and an object's attribute that counts updates.
Update: TypeAlias = tuple["Tape", Watched, object, str]
Result = TypeVar("Result")
Matmul = TypeVar("Matmul", bound=Callable[..., Any])
ActivationName: TypeAlias = Literal["relu", "leaky_relu", "sigmoid", "tanh", "gelu"]

__version__: str
_C_API: object  # the capsule of fastbn/capi.h

# -- results -------------------------------------------------------------------------------------

class Workspace:
    """A layer's results' memory: lent uninitialized, and again once nobody holds the array.

    An argument of type `Out` may be one; `c` of `gemm` if beta is 0.  A smaller array is lent from
    the start of a larger block: the last, smaller batch of an epoch does not cost the large block.
    """

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a C-contiguous array that nobody else holds; its values are arbitrary."""

Out: TypeAlias = Array | Workspace | None

class Tape:
    """The kernel calls of one training step, which `run` makes again on the same memory.

    Results are the loss and the accuracy, in the order of their calls.
    """

    @property
    def whole(self) -> bool:
        """Whether the calls are all that was done: no kernel off the tape, no copy of an array."""
    @property
    def runs(self) -> bool:
        """Whether a thread runs it now."""
    @property
    def calls(self) -> int:
        """How many kernel calls it has."""
    @property
    def results(self) -> int:
        """How many results a run has."""
    def run(
        self,
        x: Array,
        y: Array,
        watched: Watched,
        names: tuple[str, ...],
        update: Update | None = None,
    ) -> tuple[dict[str, float], bool] | None:
        """Make one step; None, and nothing is done, where the tape does not hold for it.

        It does where x and y are arrays, of no subclass; x, and y if it is no vector of labels,
        have the shape, strides and dtype of the first ones and lie in nothing that the calls write;
        there are as many labels as rows of x; what the calls write is where it was, the objects of
        `watched` are what they were, and no other thread runs the tape.  Labels that no class has
        are a ValueError, those of another dtype a TypeError, before anything is done.

        Then the calls of `update` follow, if it holds and its count is an int, and it is counted.
        Returned are the results by their `names`, and whether the update was made.
        """
    def run_pass(
        self, x: Array, dy: Array | None, workspace: Workspace | None, watched: Watched
    ) -> Any | None:
        """Make one pass of `record_pass`; None, and nothing is done, where the tape does not hold.

        It holds for x, and dy of a backward, and `watched` as that of a step does, and not while
        another tape records in this thread.  Returned is the result, which `workspace` lends or is
        made anew, or True where the pass has none.
        """

def record(
    step: Callable[[], Result],
    x: Array | None = None,
    y: Array | None = None,
    arrays: Sequence[Array] = (),
) -> tuple[Result, Tape]:
    """Call `step` and keep this thread's kernel calls, which read samples x and the very object y.

    y are labels or targets.  An update has neither.  The tape does not hold where `arrays`, beside
    those that the calls use, have become read-only, as those of a parameter that moves.  Returned
    is what `step` returns, too.
    """

def kernel_calls() -> int:
    """How many kernel calls, which a tape could keep, this thread has made."""

def record_pass(
    pass_: Callable[[], Result],
    watched: Watched,
    arrays: Sequence[Array],
    x: Array,
    dy: Array | None = None,
) -> tuple[Result, Tape | None]:
    """Call a forward of samples x, or a backward from dy, and keep its kernel calls.

    The tape does not hold where `arrays`, beside those that the calls use, have become read-only.
    Returned is its result, an array or None, too.  No tape is where it cannot be repeated, where
    the objects of `watched` are not what they were, before and after, and where another tape
    records in this thread.
    """

# -- gemm ----------------------------------------------------------------------------------------

def gemm(
    a: Array,
    b: Array,
    c: Out = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: Array | None = None,
    activation: Literal["relu"] | None = None,
) -> Array: ...
def plain_matrices_first(general: Matmul, /) -> Matmul:
    """Make `fastbn.matmul`: multiply two plain matrices, leave every other call to `general`.

    The builtin has the name, the module and the docstring of `general`.
    """

def column_sums(x: Array, out: Array | None = None) -> Array: ...

# -- batchnorm -----------------------------------------------------------------------------------

class BatchNormCache:
    """What `batch_norm_backward` needs: a reference to `x`, and a few numbers a channel."""

    @property
    def x(self) -> Array: ...
    @property
    def mean(self) -> Array: ...
    @property
    def var(self) -> Array: ...
    @property
    def invstd(self) -> Array: ...
    @property
    def training(self) -> bool: ...
    @property
    def weights(self) -> Array | None: ...
    @property
    def groups(self) -> int: ...

def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    unbiased: bool = True,
    activation: Literal["relu"] | None = None,
    out: Out = None,
    weights: Array | None = None,
    groups: int = 1,
    num_batches_tracked: NDArray[np.int64] | None = None,
) -> tuple[Array, BatchNormCache]:
    """Give each of `groups` statistics of its own; count them in `num_batches_tracked`."""

def batch_norm_backward(
    dy: Array,
    cache: BatchNormCache,
    out: Out = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array, Array, Array]: ...
def linear_batch_norm(
    x: Array,
    weight: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: float | None,
    eps: float,
    unbiased: bool,
    relu: bool,
    z: Out = None,
    out: Out = None,
    num_batches_tracked: NDArray[np.int64] | None = None,
) -> tuple[Array, BatchNormCache]:
    """`batch_norm(gemm(x, weight, bias=bias), training=True)`; `z` receives the product."""

def linear_batch_norm_inference(
    x: Array,
    weight: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array,
    running_var: Array,
    eps: float,
    relu: bool,
) -> Array: ...
def linear_batch_norm_backward(
    dy: Array,
    x: Array,
    weight: Array,
    cache: BatchNormCache,
    need_dx: bool,
    need_dbias: bool,
    dx: Out = None,
    dz: Out = None,
    dweight: Array | None = None,
    dbias: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array | None, Array, Array | None, Array, Array]:
    """dx, dweight, dbias, dgamma, dbeta; `dz` is scratch that only dx needs."""

def linear_backward(
    dy: Array,
    x: Array,
    weight: Array,
    need_dx: bool = True,
    need_dbias: bool = True,
    dx: Out = None,
    dweight: Array | None = None,
    dbias: Array | None = None,
) -> tuple[Array | None, Array, Array | None]:
    """dx, dweight, dbias of `y = x @ weight + bias`, once all is checked."""

# -- nn ------------------------------------------------------------------------------------------

def activation_forward(
    name: ActivationName, x: Array, out: Out = None, slope: float = 0.01
) -> Array:
    """`out = f(x)`, elementwise, any shape; `out` may be `x`.  `slope` is leaky_relu's alone."""

def activation_backward(
    name: ActivationName, dy: Array, saved: Array, out: Out = None, slope: float = 0.01
) -> Array:
    """`dx = dy * f'(x)`; `saved` is y for sigmoid and tanh, x for gelu, either for the relus."""

def softmax(x: Array, out: Out = None) -> Array:
    """Over the last axis."""

def softmax_backward(dy: Array, y: Array, out: Out = None) -> Array: ...

class CrossEntropyCache:
    """What `cross_entropy_backward` needs: the logits, the labels, each row's maximum and sum."""

def cross_entropy(
    logits: Array, labels: NDArray[np.integer[Any]], *, label_smoothing: float = 0.0
) -> tuple[float, CrossEntropyCache]:
    """Mean over the rows of (N, classes) logits; integer labels (N,), 0 <= label < classes."""

def cross_entropy_backward(cache: CrossEntropyCache, out: Out = None) -> Array: ...
def squared_error(
    predictions: Array, targets: Array, difference: Out = None
) -> tuple[float, Array]:
    """Compute the mean of the squared differences, and the differences."""

def scale(x: Array, factor: float, out: Out = None) -> Array:
    """Multiply by a number, which is rounded to the dtype of `x`."""

def accuracy(logits: Array, labels: NDArray[np.integer[Any]]) -> float:
    """Compute the share of rows whose largest logit is at their label; NaN of no row."""

def sgd_update(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    ends: Sequence[int] = (),
    cols: Sequence[int] = (),
) -> None:
    """1-D contiguous arrays: v = momentum*v + g; p -= lr*v (nesterov: g + momentum*v).

    Threads share out each of the parts that end at `ends`, the last with the array.  Where they
    are far apart they share out the columns of a part that is a matrix, of so many `cols` (else 0),
    if these are whole cache lines and enough for each.
    """

def adam_update(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    ends: Sequence[int] = (),
    cols: Sequence[int] = (),
) -> None:
    """One step of Adam (L2 in the gradient) or, if `decoupled`, AdamW; `step` counts from 1."""

# -- data ----------------------------------------------------------------------------------------

def gather_rows(x: Array, indices: NDArray[np.intp], out: Array) -> NDArray[np.intp] | None:
    """`out[i] = x[indices[i]]` of any dtype, once all is checked.

    Where `x` is not C-contiguous, holds objects or shares memory with `out`, nothing is written:
    the caller copies by the indices that are given back then, which nobody else can change.
    """

def rescale(x: NDArray[np.uint8], out: Array, scale: float, offset: float) -> Array:
    """`out = x * scale + offset`, of any shape, each operation rounded; `out` is a float array."""

# -- probe ---------------------------------------------------------------------------------------

def fma_peak(dtype: str = "float32", seconds: float = 0.05) -> float:
    """FLOP a second of fused multiply-adds in registers, on all threads: the best of many runs."""

def fma_rate(dtype: str = "float32", seconds: float = 0.001) -> float:
    """Return the same in the mean over `seconds`: what the machine gives now."""

def copy_bandwidth(bytes: int, seconds: float = 0.05) -> float:
    """Bytes a second, read and written, of copies between arrays of `bytes` in all."""

# -- runtime -------------------------------------------------------------------------------------

def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def available_targets() -> list[str]:
    """List the targets that this CPU can run, best first; the last is "scalar"."""

def get_target() -> str: ...
def set_target(name: str) -> None: ...
def core() -> str:
    """Name what this CPU's cores are taken for: "half", "whole" or "deep" (csrc/runtime/cpu.h)."""

def assume_core(name: str | None) -> None:
    """Take them for others; None: as they are.  For tests: that decides what pays, and no bit."""

def handover_seconds() -> float:
    """Measure how long a cache line takes from thread to thread; 0.0 on one, or if one was late."""

def assume_far_apart(far: bool | None) -> None:
    """Take the threads for far apart, or near; None: as measured.  For tests: it decides no bit."""

def assume_shares(shares: Sequence[float] | None) -> None:
    """Share out large products of as many threads so; None: by pace.  For tests: in no bit."""

def as_array(object: Any, name: str) -> Array:
    """View anything that NumPy can see without a copy: float32 or float64, else TypeError."""

def build_info() -> dict[str, Any]:
    """Keys: compiler, openmp, targets (built), cpu_features, cache_sizes (bytes by level)."""
