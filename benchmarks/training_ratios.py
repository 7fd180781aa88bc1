"""Training steps: fastbn beside every peer that is installed, as ratios of one run.

    python benchmarks/training_ratios.py [--threads N] [--dtype float64] [--quick] [--json FILE]

A line a case: images a second and the share of the roofline,
then the ratios of fastbn to the best peer and to NumPy, of medians of rounds in which the libraries
take turns.  Last, geometric means and worst cases.
"""

from ratio_command import main

if __name__ == "__main__":
    main("training", __doc__)
