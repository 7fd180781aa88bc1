"""Batch normalization: fastbn beside every peer that is installed, as ratios of one run.

    python benchmarks/batchnorm_ratios.py [--threads N] [--dtype float64] [--quick] [--json FILE]

A line a case: GB/s and the share of the bandwidth of the level of cache that the data are in,
then the ratios of fastbn to the best peer and to NumPy, of medians of rounds in which the libraries
take turns.  Last, geometric means and worst cases.
"""

from ratio_command import main

if __name__ == "__main__":
    main("batchnorm", __doc__)
