"""fastbn.compat.cs231n beside the same functions, and the same net, in plain NumPy."""

import pickle

import numpy as np
import pytest
from layers.gradients import numeric_gradient

from fastbn.compat import cs231n

from . import change_import, plain_cs231n
from .training import assert_close, assert_same_losses, digits


@pytest.fixture
def draw(rng, dtype):
    return lambda *shape: rng.standard_normal(shape).astype(dtype)


# -- the whole net ---------------------------------------------------------------------------------

RULES = {"sgd": 0.1, "sgd_momentum": 0.02, "rmsprop": 2e-3, "adam": 2e-3}


def train(package, dtype, rule, learning_rate):
    module = change_import.load("cs231n", package)
    x, y, x_val, y_val = digits(dtype)
    data = {"X_train": x, "y_train": y, "X_val": x_val, "y_val": y_val}
    net = module.Net([64, 50, 30, 10], dtype)
    own = dict(net.params)
    np.random.seed(5)
    epochs, batch_size = 5, 10  # 40 updates an epoch
    return net, own, module.train(net, data, rule, learning_rate, epochs, batch_size)


@pytest.mark.parametrize("rule", RULES)
def test_net_with_the_import_changed(rule, dtype):
    theirs, _, plain = train("compat.plain_cs231n", dtype, rule, RULES[rule])
    ours, own, solver = train("fastbn.compat.cs231n", dtype, rule, RULES[rule])
    assert_same_losses(solver.loss_history, plain.loss_history, dtype)
    bound = 1e-8 if dtype is np.float64 else 1e-3
    # The gradient of b1, which the mean takes out again, is nothing but rounding; rules that divide
    # by its size make steps of it, which the running mean follows.
    follows_rounding = {"b1", "running_mean"} if rule in ("rmsprop", "adam") else set()
    results = [*theirs.params.items(), *list(theirs.bn_params[0].items())[1:]]
    for name, value in results:
        actual = (ours.params | ours.bn_params[0])[name]
        assert actual.dtype == dtype
        if name not in follows_rounding:
            np.testing.assert_allclose(actual, value, rtol=bound, atol=bound, err_msg=name)
    if dtype is np.float64:
        assert solver.train_acc_history == plain.train_acc_history
        assert solver.val_acc_history == plain.val_acc_history
        assert solver.best_val_acc == plain.best_val_acc
    # The parameters that were trained are the net's own arrays; its best are copies, as there.
    assert all(np.any(own[name] != 0) for name in own)
    assert not any(np.shares_memory(own[name], ours.params[name]) for name in own)


def test_gradients_of_the_net():
    module = change_import.load("cs231n", "fastbn.compat.cs231n")
    x, y, *_ = digits(np.float64, 12)
    net = module.Net([64, 7, 6, 10], keep=1.0)
    _, grads = net.loss(x, y)
    for name in ("W2", "W3", "b2", "b3", "gamma1", "beta1", "gamma2", "beta2"):
        expected = numeric_gradient(lambda: net.loss(x, y)[0], net.params[name])
        np.testing.assert_allclose(grads[name], expected, atol=1e-5, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(grads["b1"], 0, atol=1e-12)  # the mean takes b1 out again


# -- one function after the other ------------------------------------------------------------------


def test_affine(draw, dtype):
    x, w, b, dout = draw(6, 2, 3, 4), draw(24, 5), draw(5), draw(6, 5)
    out, cache = cs231n.affine_forward(x, w, b)
    expected, plain = plain_cs231n.affine_forward(x, w, b)
    assert_close(out, expected, dtype)
    assert cache[0] is x
    assert cache[1] is w
    for ours, theirs in zip(
        cs231n.affine_backward(dout, cache), plain_cs231n.affine_backward(dout, plain), strict=True
    ):
        assert_close(ours, theirs, dtype)


def test_relu(draw, dtype):
    x, dout = draw(5, 4), draw(5, 4)
    x[0, 0] = 0
    out, cache = cs231n.relu_forward(x)
    assert np.array_equal(out, np.maximum(x, 0))
    assert np.array_equal(cs231n.relu_backward(dout, cache), plain_cs231n.relu_backward(dout, x))


def test_result_may_be_changed_in_place(draw, dtype):
    """The backward pass needs none of the arrays that the forward handed out."""
    x, w, b, gamma, dout = draw(6, 3), draw(3, 4), draw(4), draw(4), draw(6, 4)
    for forward, backward, arguments in (
        (cs231n.affine_relu_forward, cs231n.affine_relu_backward, (x, w, b)),
        (
            cs231n.affine_bn_relu_forward,
            cs231n.affine_bn_relu_backward,
            (x, w, b, gamma, b, {"mode": "train"}),
        ),
    ):
        out, cache = forward(*arguments)
        before = backward(dout, cache)
        out += 1
        for now, then in zip(backward(dout, cache), before, strict=True):
            assert np.array_equal(now, then)


@pytest.mark.parametrize("shape", [(9, 5), (4, 3, 2, 5)])
def test_batchnorm(draw, dtype, shape):
    prefix = "batchnorm" if len(shape) == 2 else "spatial_batchnorm"
    x, dout, gamma, beta = draw(*shape), draw(*shape), draw(shape[1]), draw(shape[1])
    ours, theirs = {"mode": "train", "momentum": 0.8}, {"mode": "train", "momentum": 0.8}
    caches = []
    for _ in range(3):
        results = [
            getattr(module, prefix + "_forward")(x, gamma, beta, param)
            for module, param in ((cs231n, ours), (plain_cs231n, theirs))
        ]
        assert_close(results[0][0], results[1][0], dtype)
        caches = [cache for _, cache in results]
    for name in ("running_mean", "running_var"):
        assert ours[name].dtype == dtype
        assert_close(ours[name], theirs[name], dtype)
    for a, b in zip(
        getattr(cs231n, prefix + "_backward")(dout, caches[0]),
        getattr(plain_cs231n, prefix + "_backward")(dout, caches[1]),
        strict=True,
    ):
        assert_close(a, b, dtype)
    ours["mode"] = theirs["mode"] = "test"
    kept = ours["running_mean"]
    out, _ = getattr(cs231n, prefix + "_forward")(x, gamma, beta, ours)
    assert ours["running_mean"] is kept
    expected, _ = getattr(plain_cs231n, prefix + "_forward")(x, gamma, beta, theirs)
    assert_close(out, expected, dtype)


def test_running_statistics_are_new_arrays_in_training(draw, dtype):
    """As in the course: what somebody kept of the last step does not change."""
    kept = np.zeros(3, dtype)
    param = {"mode": "train", "running_mean": kept, "running_var": np.ones(3, dtype)}
    cs231n.batchnorm_forward(draw(8, 3) + 1, np.ones(3, dtype), np.zeros(3, dtype), param)
    assert not kept.any()
    assert param["running_mean"].any()


def test_batchnorm_alt_is_the_same(draw):
    x, dout, ones = draw(7, 4), draw(7, 4), np.ones(4)
    _, cache = cs231n.batchnorm_forward(x, ones, 0 * ones, {"mode": "train"})
    for a, b in zip(
        cs231n.batchnorm_backward(dout, cache),
        cs231n.batchnorm_backward_alt(dout, cache),
        strict=True,
    ):
        assert np.array_equal(a, b)


def test_layernorm(draw, dtype):
    x, dout, gamma, beta = draw(6, 9), draw(6, 9), draw(9), draw(9)
    out, cache = cs231n.layernorm_forward(x, gamma, beta, {"eps": 1e-3})
    expected, plain = plain_cs231n.layernorm_forward(x, gamma, beta, {"eps": 1e-3})
    assert_close(out, expected, dtype)
    for a, b in zip(
        cs231n.layernorm_backward(dout, cache),
        plain_cs231n.layernorm_backward(dout, plain),
        strict=True,
    ):
        assert_close(a, b, dtype)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_dropout_draws_the_same_numbers(draw, dtype, mode):
    x, dout = draw(20, 30), draw(20, 30)
    param = {"mode": mode, "p": 0.7, "seed": 123}
    out, cache = cs231n.dropout_forward(x, param)
    expected, plain = plain_cs231n.dropout_forward(x, param)
    assert out.dtype == dtype
    assert_close(out, expected, dtype)
    assert_close(
        cs231n.dropout_backward(dout, cache), plain_cs231n.dropout_backward(dout, plain), dtype
    )
    if mode == "train":
        assert 0.6 < np.mean(out != 0) < 0.8  # p keeps


@pytest.mark.parametrize("name", ["softmax_loss", "svm_loss"])
def test_losses(draw, rng, dtype, name):
    x, y = 3 * draw(11, 6), rng.integers(0, 6, 11)
    loss, dx = getattr(cs231n, name)(x, y)
    expected, plain = getattr(plain_cs231n, name)(x, y)
    assert_close(loss, expected, dtype)
    assert_close(dx, plain, dtype)
    assert dx.dtype == dtype


@pytest.mark.parametrize("rule", RULES)
def test_update_rules_work_in_place(draw, dtype, rule):
    ours, theirs = draw(7, 3), None
    theirs = ours.copy()
    config, plain = {"learning_rate": 1e-2}, {"learning_rate": 1e-2}
    for step in range(4):
        dw = draw(7, 3)
        result, config = getattr(cs231n, rule)(ours, dw, config)
        theirs, plain = getattr(plain_cs231n, rule)(theirs, dw, plain)
        assert result is ours
        config["learning_rate"] *= 0.5 + step
        plain["learning_rate"] *= 0.5 + step
    assert_close(ours, theirs, dtype)
    assert set(plain) <= set(config)


def test_dtypes_mix_as_numpys_do(rng):
    x = rng.integers(0, 255, (5, 4)).astype(np.uint8)
    out, cache = cs231n.affine_forward(x, rng.standard_normal((4, 3)), np.zeros(3, np.float32))
    assert out.dtype == np.float64
    assert cs231n.affine_backward(out.astype(np.float32), cache)[0].dtype == np.float64


# -- what is refused -------------------------------------------------------------------------------

ONES = np.ones((4, 3))


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (TypeError, "complex128", lambda: cs231n.affine_forward(1j * ONES, ONES.T, ONES[0])),
        (ValueError, "3 columns.*5 rows", lambda: cs231n.affine_forward(ONES, np.ones((5, 2)), 0)),
        (ValueError, "'valid'", lambda: cs231n.dropout_forward(ONES, {"mode": "valid", "p": 0.5})),
        (ValueError, r"1\.5", lambda: cs231n.dropout_forward(ONES, {"mode": "train", "p": 1.5})),
        (ValueError, r"\(4, 3\)", lambda: cs231n.layernorm_forward(ONES, ONES[:2, 0], ONES[0], {})),
        (ValueError, "0 to 2", lambda: cs231n.svm_loss(ONES, np.array([0, 1, 2, 3]))),
        (ValueError, "label 3", lambda: cs231n.softmax_loss(ONES, np.array([0, 1, 2, 3]))),
        (TypeError, "float64", lambda: cs231n.svm_loss(ONES, np.ones(4))),
        (ValueError, "-1", lambda: cs231n.sgd(ONES.copy(), ONES, {"learning_rate": -1})),
        (ValueError, r"\(3, 4\)", lambda: cs231n.adam(ONES.copy(), ONES.T)),
    ],
)  # fmt: skip
def test_bad_arguments(error, match, call):
    with pytest.raises(error, match=match):
        call()


def test_nothing_is_written_before_an_error():
    for param in ({"mode": "nonsense"}, {"mode": "train", "eps": -1.0}):
        before = dict(param)
        with pytest.raises(ValueError, match=r"nonsense|eps"):
            cs231n.batchnorm_forward(ONES, ONES[0], ONES[0], param)
        assert param == before
    w, config = ONES.copy(), {"momentum": 0.9, "velocity": np.ones((2, 2))}
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(4, 3\)"):
        cs231n.sgd_momentum(w, ONES, config)
    assert np.array_equal(w, ONES)


# -- the solver ------------------------------------------------------------------------------------


class Mean:
    """Scores that no training changes."""

    def __init__(self):
        self.params = {"w": np.zeros(2)}

    def loss(self, X, y=None):
        return X if y is None else (0.5, {"w": np.ones(2)})


DATA = {"X_train": np.eye(4), "y_train": np.arange(4), "X_val": np.eye(4), "y_val": np.arange(4)}


def test_solver_counts_prints_and_saves(tmp_path, capsys):
    name = str(tmp_path / "run")
    solver = cs231n.Solver(
        Mean(), DATA, batch_size=2, num_epochs=3, lr_decay=0.5, print_every=2, checkpoint_name=name,
        optim_config={"learning_rate": 1.0},
    )  # fmt: skip
    solver.train()
    assert solver.loss_history == [0.5] * 6
    assert solver.epoch == 3
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == 4
    assert solver.optim_configs["w"]["learning_rate"] == 0.125
    assert solver.best_val_acc == 1
    assert solver.model.params is solver.best_params
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "(Iteration 1 / 6) loss: 0.500000"
    assert sum(line.startswith("(Epoch") for line in lines) == 4
    with open(f"{name}_epoch_3.pkl", "rb") as file:
        assert pickle.load(file)["loss_history"] == [0.5] * 6


def test_solver_refuses_unknown_rules_and_data_that_do_not_fit():
    with pytest.raises(ValueError, match=r"'sgd'.*'newton'"):
        cs231n.Solver(Mean(), DATA, update_rule="newton")
    with pytest.raises(ValueError, match=r"y_val has \(3,\)"):
        cs231n.Solver(Mean(), DATA | {"y_val": np.arange(3)})
    with pytest.raises(TypeError, match="batchsize"):
        cs231n.Solver(Mean(), DATA, batchsize=3)


def test_modules_have_the_courses_names():
    from fastbn.compat.cs231n import layer_utils, layers, optim
    from fastbn.compat.cs231n.solver import Solver

    assert layers.affine_forward is cs231n.affine_forward
    assert layer_utils.affine_relu_forward is cs231n.affine_relu_forward
    assert optim.sgd is cs231n.sgd
    assert Solver is cs231n.Solver
