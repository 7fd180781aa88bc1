"""The arguments of `fastbn train`."""

from __future__ import annotations

from fastbn.cli.model import DEFAULTS
from fastbn.cli.parser import (
    Parser,
    above_zero,
    at_least_one,
    at_least_zero,
    layer_sizes,
    seed,
)


def add_options(parser: Parser) -> None:
    """Add all arguments to the parser."""
    _add_data_options(parser)
    _add_net_options(parser)
    _add_output_options(parser)


def _add_data_options(parser: Parser) -> None:
    group = parser.add_argument_group("data and batches")
    group.add_argument(
        "--data",
        metavar="DIR",
        help="folder with the four files of MNIST's format, or a .npz or .csv file "
        "(default: 1,797 handwritten digits that come with the library)",
    )
    group.add_argument(
        "--epochs",
        type=at_least_one,
        default=20,
        metavar="E",
        help="passes over the training samples (default: %(default)s)",
    )
    group.add_argument(
        "--batch-size",
        type=at_least_one,
        default=32,
        metavar="B",
        help="samples per update (default: %(default)s)",
    )
    group.add_argument(
        "--tail",
        choices=("keep", "drop", "merge"),
        default="keep",
        help="what becomes of samples that do not fill the last batch (default: %(default)s)",
    )
    group.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="S",
        help="of the first weights and of the order of the samples (default: %(default)s)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision of the computation (default: %(default)s)",
    )
    group.add_argument(
        "--threads", type=at_least_one, metavar="T", help="threads (default: one per core)"
    )


def _add_net_options(parser: Parser) -> None:
    group = parser.add_argument_group("net and optimizer")
    group.add_argument(
        "--hidden",
        type=layer_sizes,
        default=(512, 256),
        metavar="SIZES",
        help="sizes of the hidden layers, separated by commas (default: 512,256)",
    )
    group.add_argument(
        "--no-batch-norm",
        dest="batch_norm",
        action="store_false",
        help="leave the batch normalization out",
    )
    group.add_argument(
        "--optimizer", choices=tuple(DEFAULTS), default="sgd", help="(default: %(default)s)"
    )
    group.add_argument(
        "--lr",
        type=above_zero,
        metavar="LR",
        help="learning rate, which falls to 0 along a cosine (default: 0.1; 0.001 for Adam)",
    )
    group.add_argument(
        "--momentum",
        type=at_least_zero,
        default=0.9,
        metavar="M",
        help="of SGD (default: %(default)s)",
    )
    group.add_argument(
        "--weight-decay",
        type=at_least_zero,
        metavar="W",
        help="of weights, not of biases, gamma and beta "
        "(default: 0.0005; 0 for adam, 0.01 for adamw)",
    )


def _add_output_options(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--no-progress", action="store_true", help="no moving bar, only a line an epoch"
    )
    group.add_argument("--quiet", action="store_true", help="only the accounting and the results")
    group.add_argument(
        "--no-compare",
        dest="compare",
        action="store_false",
        help="do not measure the same net in plain NumPy at the end",
    )
