"""Today's NumPy nets on fastbn's kernels: the interfaces of two courses, by a change of an import.

``fastbn.compat.cs231n`` has the layer functions, update rules and solver of Stanford's course
CS231n; ``fastbn.compat.dlfs`` the layers, optimizers and trainer of the book "Deep Learning from
Scratch" (O'Reilly Japan).  Names, conventions, attributes and random numbers are theirs, the
results theirs up to rounding, and arrays are shared and updated in place where theirs are.
"""
