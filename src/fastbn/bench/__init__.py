"""Comparisons of speed with NumPy and, where they are installed, with other libraries.

``fastbn bench`` and the repository's ``benchmarks/`` are two fronts of this package:

    shapes         what is measured
    environment    settings that would hold a library back, and how they are taken away
    libraries      each library at its best: a file each
    operands, answers
                   what is computed with, and whether it was computed rightly
    worker, team   a process for each library; rounds in which they take turns
    limits         the peaks of this machine, measured
    record         results in the form of pytest-benchmark
    ratios         results on a terminal
    report         results as a page, as Markdown, in the README

A figure is a ratio in one run: equal threads, every library at its best, the median of rounds in
which the libraries take turns, so that what disturbs the machine disturbs all alike.
"""
