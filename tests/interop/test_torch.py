"""States in PyTorch's names: by themselves, and through files to PyTorch and back."""

import subprocess
import sys

import numpy as np
import pytest

import fastbn
from fastbn.interop.torch import from_state_dict, to_state_dict


def trained_net(dtype=np.float32):
    """A net whose every array is its own, running statistics included."""
    net = fastbn.Sequential(
        fastbn.Linear(12, 8, rng=0, dtype=dtype),
        fastbn.BatchNorm1d(8, dtype=dtype),
        fastbn.ReLU(),
        fastbn.Linear(8, 5, bias=False, rng=1, dtype=dtype),
    )
    rng = np.random.default_rng(2)
    for parameter in net.parameters():
        parameter.data += rng.standard_normal(parameter.data.shape).astype(dtype)
    net(rng.standard_normal((16, 12)).astype(dtype), training=True)
    return net


NAMES = [
    "0.weight", "0.bias",
    "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    "3.weight",
]  # fmt: skip


def test_names_shapes_and_memory():
    net = trained_net()
    state = to_state_dict(net.state_dict())
    assert list(state) == NAMES
    assert state["0.weight"].shape == (8, 12)
    assert np.array_equal(state["0.weight"], net.layers[0].weight.data.T)
    assert np.array_equal(state["1.weight"], net.layers[1].gamma.data)
    assert state["1.num_batches_tracked"].shape == ()
    assert all(array.flags.c_contiguous for array in state.values())  # safetensors ignores strides


def test_there_and_back(dtype):
    net = trained_net(dtype)
    back = from_state_dict(to_state_dict(net.state_dict()))
    assert list(back) == list(net.state_dict())
    for name, array in net.state_dict().items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)


def test_the_result_is_a_copy():
    state = trained_net().state_dict()
    result = to_state_dict(state)
    state["0.bias"][...] = 7
    assert not np.any(result["0.bias"] == 7)


def test_names_with_a_prefix_and_without():
    weight = np.arange(6.0).reshape(2, 3)
    assert list(from_state_dict({"encoder.2.weight": weight})) == ["encoder.2.weight"]
    assert to_state_dict({"weight": weight})["weight"].shape == (3, 2)


@pytest.mark.parametrize(
    ("function", "state", "match"),
    [
        (from_state_dict, {"0.weight": np.ones((4, 3, 2, 2))}, r"0\.weight.*\(4, 3, 2, 2\)"),
        (from_state_dict, {"0.in_proj": np.ones(3)}, "in_proj"),
        (to_state_dict, {"0.scale": np.ones(3)}, r"0\.scale.*\(3,\)"),
        (to_state_dict, {"0.weight": np.ones(3)}, r"0\.weight"),
    ],
)
def test_layers_that_only_one_library_has(function, state, match):
    with pytest.raises(ValueError, match=match):
        function(state)


def test_a_net_is_no_state():
    with pytest.raises(TypeError, match="Sequential"):
        to_state_dict(trained_net())


def test_torch_is_not_imported():
    code = "import sys, fastbn.interop.torch; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# -- files -----------------------------------------------------------------------------------------


def torch_net(torch):
    return torch.nn.Sequential(
        torch.nn.Linear(12, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 5, bias=False),
    ).eval()


def assert_same_outputs(torch, ours, theirs):
    """Within the rounding of two products of 12 and 8 terms and what they are multiplied by."""
    x = np.random.default_rng(3).standard_normal((20, 12)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    bound = 4 * (12 + 8) * 2.0**-24 * (1 + abs(expected).max())
    np.testing.assert_allclose(ours(x), expected, rtol=0, atol=bound)


def test_a_saved_file_loads_in_torch(tmp_path):
    torch = pytest.importorskip("torch")
    numpy_files = pytest.importorskip("safetensors.numpy")
    from safetensors.torch import load_file

    net, file = trained_net(), tmp_path / "net.safetensors"
    numpy_files.save_file(to_state_dict(net.state_dict()), file)
    theirs = torch_net(torch)
    theirs.load_state_dict(load_file(file))
    assert_same_outputs(torch, net, theirs)


def test_a_file_of_torchs_loads_here(tmp_path):
    torch = pytest.importorskip("torch")
    numpy_files = pytest.importorskip("safetensors.numpy")
    from safetensors.torch import save_file

    torch.manual_seed(4)
    theirs, file = torch_net(torch), tmp_path / "net.safetensors"
    theirs.train()(torch.randn(16, 12) + 1)
    theirs.eval()
    save_file(theirs.state_dict(), file)
    net = trained_net()
    net.load_state_dict(from_state_dict(numpy_files.load_file(file)))
    assert_same_outputs(torch, net, theirs)


def test_tensors_are_taken_as_they_are():
    torch = pytest.importorskip("torch")
    theirs, net = torch_net(torch), trained_net()
    net.load_state_dict(from_state_dict(theirs.state_dict()))
    assert_same_outputs(torch, net, theirs)
