"""Data sets as arrays: the digits that come with the library, and readers for common files.

Every loader returns a `Dataset` and treats a file as hostile until its contents are checked: a file
that lies about its size or contents is refused with a ValueError that names it, before memory is
allocated for the lie, and nothing in a file is ever executed.
"""

from fastbn.datasets.csv import load_csv
from fastbn.datasets.dataset import Dataset
from fastbn.datasets.digits import load_digits
from fastbn.datasets.idx import load_idx
from fastbn.datasets.npz import load_npz

__all__ = ["Dataset", "load_csv", "load_digits", "load_idx", "load_npz"]
