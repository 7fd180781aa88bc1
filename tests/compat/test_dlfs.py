"""fastbn.compat.dlfs beside the same layers, and the same net, in plain NumPy."""

import numpy as np
import pytest
from layers.gradients import numeric_gradient

from fastbn.compat import dlfs

from . import change_import, plain_dlfs
from .training import assert_close, assert_same_losses, digits


@pytest.fixture
def draw(rng, dtype):
    return lambda *shape: rng.standard_normal(shape).astype(dtype)


# -- the whole net ---------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": 0.1, "Momentum": 0.02, "Nesterov": 0.02, "AdaGrad": 0.02, "RMSprop": 2e-3, "Adam": 2e-3,
}  # fmt: skip


def train(package, dtype, optimizer, lr):
    module = change_import.load("dlfs", package)
    np.random.seed(5)
    net = module.Net([64, 50, 30, 10], dtype)
    own = dict(net.params)
    epochs, batch_size = 5, 10  # 40 updates an epoch
    return net, own, module.train(net, digits(dtype), optimizer, lr, epochs, batch_size)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_net_with_the_import_changed(optimizer, dtype):
    theirs, _, plain = train("compat.plain_dlfs", dtype, optimizer, OPTIMIZERS[optimizer])
    ours, own, trainer = train("fastbn.compat.dlfs", dtype, optimizer, OPTIMIZERS[optimizer])
    assert_same_losses(trainer.train_loss_list, plain.train_loss_list, dtype)
    bound = 1e-8 if dtype is np.float64 else 1e-3
    for name, value in theirs.params.items():
        assert ours.params[name].dtype == dtype
        np.testing.assert_allclose(ours.params[name], value, rtol=bound, atol=bound)
    for name in ("running_mean", "running_var"):
        actual, expected = (getattr(net.layers["BatchNorm1"], name) for net in (ours, theirs))
        np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound)
    if dtype is np.float64:
        assert trainer.train_acc_list == plain.train_acc_list
        assert trainer.test_acc_list == plain.test_acc_list
    # Trained were the user's own arrays, shared by the dict and the layers.
    for name, array in own.items():
        assert ours.params[name] is array
    assert ours.layers["Affine2"].W is own["W2"]
    assert ours.layers["BatchNorm1"].gamma is own["gamma1"]


def test_gradients_of_the_books_net():
    np.random.seed(1)
    net = dlfs.MultiLayerNetExtend(
        12, [7, 6], 4, use_batchnorm=True, weight_decay_lambda=0.01, activation="sigmoid"
    )
    x, t = np.random.randn(9, 12), np.arange(9) % 4
    grads, expected = net.gradient(x, t), net.numerical_gradient(x, t)
    assert list(grads) == [
        "W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3",
    ]  # fmt: skip
    assert set(expected) == set(net.params) == set(grads)
    for name in grads:
        np.testing.assert_allclose(grads[name], expected[name], atol=1e-6, rtol=1e-3)
        independent = numeric_gradient(lambda: net.loss(x, t, train_flg=True), net.params[name])
        np.testing.assert_allclose(grads[name], independent, atol=1e-5, rtol=1e-3)


def test_the_books_net_is_that_of_its_layers():
    """With the same seed, and the layers of the plain net in the same order."""
    x, t, x_test, t_test = digits(np.float64)
    np.random.seed(2)
    ours = dlfs.MultiLayerNetExtend(
        64, [20], 10, use_batchnorm=True, use_dropout=True, dropout_ration=0.2,
        weight_decay_lambda=1e-3,
    )  # fmt: skip
    np.random.seed(2)
    theirs = change_import.load("dlfs", "compat.plain_dlfs").Net([64, 20, 10])
    for net in (ours, theirs):
        np.random.seed(3)
        net.grads = net.gradient(x, t)
    for name, gradient in theirs.grads.items():
        assert_close(ours.grads[name], gradient, np.float64, terms=len(x))
    assert abs(ours.loss(x, t) - theirs.loss(x, t)) < 1e-12
    assert ours.accuracy(x_test, t_test) == theirs.accuracy(x_test, t_test)
    assert ours.accuracy(x_test, np.eye(10)[t_test]) == theirs.accuracy(x_test, t_test)


def test_float32_images_and_float64_weights(rng):
    """As in the book, whose images are float32: everything after the first layer is float64."""
    net = dlfs.MultiLayerNetExtend(64, [20], 10, use_batchnorm=True)
    x, t, *_ = digits(np.float32, 50)
    grads = net.gradient(x, t)
    assert {g.dtype for g in grads.values()} == {np.dtype(np.float64)}
    assert net.predict(x).dtype == np.float64


# -- one layer after the other ---------------------------------------------------------------------


def compare(ours, theirs, x, dout, dtype, attributes, *flags):
    """Forward and backward of two layers, and the attributes that user code reads."""
    results = [layer.forward(x.copy(), *flags) for layer in (ours, theirs)]
    assert results[0].dtype == dtype
    assert_close(*results, dtype)
    assert_close(ours.backward(dout.copy()), theirs.backward(dout.copy()), dtype)
    for name in attributes:
        actual, expected = getattr(ours, name), getattr(theirs, name)
        if isinstance(expected, (int, tuple)):
            assert actual == expected
        else:
            assert_close(actual, expected, dtype)


def test_affine(draw, dtype):
    W, b = draw(24, 5), draw(5)
    ours, theirs = dlfs.Affine(W, b), plain_dlfs.Affine(W, b)
    assert ours.W is W
    assert ours.b is b
    compare(
        ours, theirs, draw(6, 2, 3, 4), draw(6, 5), dtype, ["x", "original_x_shape", "dW", "db"]
    )


@pytest.mark.parametrize(("name", "attribute"), [("Relu", "mask"), ("Sigmoid", "out")])
def test_activations(draw, dtype, name, attribute):
    ours, theirs = getattr(dlfs, name)(), getattr(plain_dlfs, name)()
    assert getattr(ours, attribute) is None
    compare(ours, theirs, draw(7, 4), draw(7, 4), dtype, [attribute])


def test_relu_overwrites_dout_as_in_the_book(draw):
    layer, dout = dlfs.Relu(), draw(5, 3)
    layer.forward(-np.ones_like(dout))
    assert layer.backward(dout) is dout
    assert not dout.any()


@pytest.mark.parametrize("shape", [(9, 6), (5, 2, 3, 4)])
def test_batch_normalization(draw, dtype, shape):
    d = int(np.prod(shape[1:]))
    gamma, beta = draw(d), draw(d)
    ours = dlfs.BatchNormalization(gamma, beta, momentum=0.7)
    theirs = plain_dlfs.BatchNormalization(gamma, beta, momentum=0.7)
    assert ours.running_mean is None
    attributes = ["dgamma", "dbeta", "batch_size", "xc", "xn", "std", "running_mean", "running_var"]
    for _ in range(3):
        compare(ours, theirs, draw(*shape), draw(*shape), dtype, attributes)
    assert ours.input_shape == shape
    x = draw(*shape)
    assert_close(ours.forward(x, train_flg=False), theirs.forward(x, train_flg=False), dtype)


def test_eps_is_the_books():
    layer = dlfs.BatchNormalization(np.ones(1), np.zeros(1), 0.9, np.zeros(1), np.zeros(1))
    assert layer.forward(np.ones((2, 1)), False)[0, 0] == pytest.approx(1e3, rel=1e-12)


@pytest.mark.parametrize("train_flg", [True, False])
def test_dropout(draw, dtype, train_flg):
    x = draw(30, 20)
    ours, theirs = dlfs.Dropout(0.3), plain_dlfs.Dropout(0.3)
    results = []
    for layer in (ours, theirs):
        np.random.seed(4)
        results.append(layer.forward(x, train_flg))
    assert results[0].dtype == dtype
    assert_close(*results, dtype)
    if train_flg:
        assert np.array_equal(ours.mask, theirs.mask)
        assert_close(ours.backward(x), theirs.backward(x), dtype)


@pytest.mark.parametrize("one_hot", [False, True])
def test_softmax_with_loss(draw, rng, dtype, one_hot):
    x, t = 3 * draw(8, 5), rng.integers(0, 5, 8)
    t = np.eye(5)[t] if one_hot else t
    ours, theirs = dlfs.SoftmaxWithLoss(), plain_dlfs.SoftmaxWithLoss()
    loss = ours.forward(x, t)
    assert ours.loss == loss
    assert_close(loss, theirs.forward(x, t), dtype)
    assert_close(ours.y, theirs.y, dtype)
    assert ours.t is t
    assert_close(ours.backward(), theirs.backward(), dtype)


def test_loss_of_a_certain_mistake_is_the_books():
    """The logarithm is of a probability plus 1e-7."""
    layer = dlfs.SoftmaxWithLoss()
    assert layer.forward(np.array([[1000.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-7))


# -- the second volume: lists that layers and optimizers share -------------------------------------


def test_lists_of_parameters_and_gradients(draw, dtype):
    layers = [dlfs.Affine(draw(6, 4), draw(4)), dlfs.Relu(), dlfs.Affine(draw(4, 3), draw(3))]
    params, grads = [], []
    for layer in layers:
        params += layer.params
        grads += layer.grads
    assert params[0] is layers[0].W
    last, optimizer, losses = dlfs.SoftmaxWithLoss(), dlfs.Adam(0.1), []
    x, t = draw(20, 6), np.arange(20) % 3
    for _ in range(30):
        h = x
        for layer in layers:
            h = layer.forward(h)
        losses.append(last.forward(h, t))
        dout = last.backward()
        for layer in reversed(layers):
            dout = layer.backward(dout)
        optimizer.update(params, grads)
    assert losses[-1] < 0.8 * losses[0]
    assert layers[2].dW is grads[2]


def test_gradients_are_new_arrays_until_the_list_is_asked_for(draw):
    layer = dlfs.Affine(draw(3, 2), draw(2))
    gradients = []
    for _ in range(2):
        layer.forward(draw(4, 3))
        layer.backward(draw(4, 2))
        gradients.append(layer.dW)
    assert not np.shares_memory(*gradients)


# -- the optimizers and the trainer ----------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_work_in_place(draw, dtype, name):
    ours, theirs = {"a": draw(5, 3), "b": draw(4)}, None
    theirs = {key: value.copy() for key, value in ours.items()}
    own = dict(ours)
    pair = [(getattr(module, name)(lr=0.01)) for module in (dlfs, plain_dlfs)]
    for _ in range(5):
        grads = {"a": draw(5, 3), "b": draw(4)}
        pair[0].update(ours, grads)
        pair[1].update(theirs, grads)
    for key in own:
        assert ours[key] is own[key]
        assert_close(ours[key], theirs[key], dtype)


def test_trainer_counts_and_prints(capsys):
    x, t, x_test, t_test = digits(np.float64, 30)
    net = dlfs.MultiLayerNetExtend(64, [5], 10)
    trainer = dlfs.Trainer(
        net, x, t, x_test, t_test, epochs=2, mini_batch_size=10, optimizer="adam",
        optimizer_param={"lr": 0.01}, evaluate_sample_num_per_epoch=20,
    )  # fmt: skip
    assert (trainer.iter_per_epoch, trainer.max_iter) == (3, 6)
    trainer.train()
    assert len(trainer.train_loss_list) == trainer.current_iter == 6
    assert len(trainer.train_acc_list) == len(trainer.test_acc_list) == trainer.current_epoch == 2
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("train loss:") for line in lines) == 6
    assert sum(line.startswith("=== epoch:") for line in lines) == 2


# -- what is refused -------------------------------------------------------------------------------

ONES = np.ones((4, 3))


def relu_backward(dout):
    layer = dlfs.Relu()
    layer.forward(ONES)
    layer.backward(dout)


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (ValueError, "3 columns.*5 rows", lambda: dlfs.Affine(np.ones((5, 2)), 0).forward(ONES)),
        (RuntimeError, "Affine", lambda: dlfs.Affine(ONES, ONES[0]).backward(ONES)),
        (ValueError, r"\(3, 4\).*\(4, 3\)", lambda: relu_backward(np.ones((3, 4)))),
        (ValueError, r"1\.2", lambda: dlfs.Dropout(1.2)),
        (ValueError, "3 to 3.*0 to 2", lambda: dlfs.SoftmaxWithLoss().forward(ONES, 3 * [3] + [3])),
        (TypeError, "float64", lambda: dlfs.SoftmaxWithLoss().forward(ONES, ONES[:, 0])),
        (ValueError, "'newton'", lambda: dlfs.Trainer(None, *4 * [ONES], 1, 1, "newton")),
        (ValueError, r"\(2, 3\)", lambda: dlfs.Trainer(None, ONES, ONES[:2], ONES, ONES)),
        (ValueError, "'tanh'", lambda: dlfs.MultiLayerNetExtend(2, [2], 2, activation="tanh")),
        (ValueError, "'lecun'", lambda: dlfs.MultiLayerNetExtend(2, [2], 2, "relu", "lecun")),
        (TypeError, "int64", lambda: dlfs.numerical_gradient(np.sum, np.arange(3))),
        (ValueError, "-1", lambda: dlfs.SGD(-1).update({"a": ONES.copy()}, {"a": ONES})),
    ],
)  # fmt: skip
def test_bad_arguments(error, match, call):
    with pytest.raises(error, match=match):
        call()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nothing_is_written_before_an_error(name):
    params = {"a": ONES.copy(), "b": ONES.copy()}
    for grads, error in (({"a": ONES, "b": ONES.T}, r"\(3, 4\)"), ({"a": ONES}, "'b'")):
        with pytest.raises(ValueError, match=error):
            getattr(dlfs, name)().update(params, grads)
        assert np.array_equal(params["a"], ONES)


def test_modules_have_the_books_names():
    from fastbn.compat.dlfs import layers, optimizer
    from fastbn.compat.dlfs.multi_layer_net_extend import MultiLayerNetExtend
    from fastbn.compat.dlfs.trainer import Trainer

    assert layers.Affine is dlfs.Affine
    assert optimizer.Adam is dlfs.Adam
    assert (MultiLayerNetExtend, Trainer) == (dlfs.MultiLayerNetExtend, dlfs.Trainer)
