# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A net of one hidden layer in Cython on fastbn's kernels: Linear, batch norm, ReLU, Linear.

An example of `cimport fastbn.capi`: an epoch runs without Python and without its lock.
"""

from libc.math cimport exp, log

import numpy as np

from fastbn cimport capi


cdef class Net:
    """``scores = relu(batch_norm(x W1)) W2 + b2``, trained by SGD on the softmax cross-entropy.

    Parameters are float32 memoryviews: ``numpy.asarray(net.W1)`` is the live array.
    """

    cdef public float[:, ::1] W1, W2
    cdef public float[::1] b2, gamma, beta, running_mean, running_var
    cdef readonly Py_ssize_t inputs, hidden, classes
    # What a step works in, for batches of up to `rows`.
    cdef Py_ssize_t rows
    cdef float[:, ::1] x, z, h, scores, dh, dW1, dW2
    cdef float[::1] saved, db2, dgamma, dbeta

    def __init__(self, Py_ssize_t inputs, Py_ssize_t hidden, Py_ssize_t classes, seed=0):
        rng = np.random.default_rng(seed)
        self.inputs, self.hidden, self.classes = inputs, hidden, classes
        self.W1 = rng.normal(0, (2.0 / inputs) ** 0.5, (inputs, hidden)).astype("f")
        self.W2 = rng.normal(0, (2.0 / hidden) ** 0.5, (hidden, classes)).astype("f")
        self.b2 = np.zeros(classes, "f")
        self.gamma, self.beta = np.ones(hidden, "f"), np.zeros(hidden, "f")
        self.running_mean, self.running_var = np.zeros(hidden, "f"), np.ones(hidden, "f")
        self.dW1, self.dW2 = np.empty((inputs, hidden), "f"), np.empty((hidden, classes), "f")
        self.db2 = np.empty(classes, "f")
        self.dgamma, self.dbeta = np.empty(hidden, "f"), np.empty(hidden, "f")
        self.saved = np.empty(capi.BATCHNORM_SAVED * hidden, "f")
        self._reserve(0)

    def _reserve(self, Py_ssize_t rows):
        self.rows = rows
        self.x, self.z, self.h = (
            np.empty((rows, n), "f") for n in (self.inputs, self.hidden, self.hidden)
        )
        self.scores = np.empty((rows, self.classes), "f")
        self.dh = np.empty((rows, self.hidden), "f")

    def train_epoch(
        self, const float[:, ::1] x, const long[::1] labels, const long[::1] order,
        Py_ssize_t batch_size, float lr):
        """One pass in mini-batches over the samples in `order`; the mean loss.

        A last batch of fewer samples is left out.
        """
        if x.shape[1] != self.inputs or x.shape[0] != labels.shape[0]:
            raise ValueError(f"x has {x.shape[0]} x {x.shape[1]} values, labels {labels.shape[0]}")
        if batch_size < 2 or batch_size > order.shape[0]:
            raise ValueError(f"batch_size is {batch_size}, of {order.shape[0]} samples")
        if max(labels) >= self.classes or min(labels) < 0:
            raise ValueError(f"labels from {min(labels)} to {max(labels)}, {self.classes} classes")
        if max(order) >= x.shape[0] or min(order) < 0:
            raise ValueError(f"order from {min(order)} to {max(order)}, {x.shape[0]} samples")
        if batch_size > self.rows:
            self._reserve(batch_size)
        cdef Py_ssize_t i, steps = order.shape[0] // batch_size
        cdef double loss = 0
        cdef int status = capi.OK
        with nogil:
            for i in range(steps):
                status |= self.step(
                    x, labels, order[i * batch_size:(i + 1) * batch_size], lr, &loss)
        if status != capi.OK:
            raise RuntimeError(f"fastbn returned {status}")
        return loss / (steps * batch_size)

    cdef int step(
        self, const float[:, ::1] x, const long[::1] labels, const long[::1] batch, float lr,
        double* loss) noexcept nogil:
        """One update; adds the losses of the samples to `loss`."""
        cdef Py_ssize_t n = batch.shape[0], d = self.inputs, h = self.hidden, c = self.classes
        cdef Py_ssize_t i
        cdef int status = capi.OK
        for i in range(n):
            self.x[i, :] = x[batch[i], :]

        status |= capi.sgemm(
            0, 0, n, h, d, 1, &self.x[0, 0], d, &self.W1[0, 0], h, 0, &self.z[0, 0], h)
        status |= capi.sbatchnorm_forward(
            n, h, 1, &self.z[0, 0], &self.gamma[0], &self.beta[0], 1e-5, 1, 0.1, 1,
            &self.running_mean[0], &self.running_var[0], &self.h[0, 0], &self.saved[0])
        status |= capi.sgemm(
            0, 0, n, c, h, 1, &self.h[0, 0], h, &self.W2[0, 0], c, 0, &self.scores[0, 0], c)
        loss[0] += self.to_gradient(labels, batch)

        status |= capi.sgemm(
            1, 0, h, c, n, 1, &self.h[0, 0], h, &self.scores[0, 0], c, 0, &self.dW2[0, 0], c)
        status |= capi.sgemm(
            0, 1, n, h, c, 1, &self.scores[0, 0], c, &self.W2[0, 0], c, 0, &self.dh[0, 0], h)
        status |= capi.sbatchnorm_backward(
            n, h, 1, &self.dh[0, 0], &self.z[0, 0], &self.saved[0], 1, &self.dh[0, 0],
            &self.dgamma[0], &self.dbeta[0])
        # W1 -= lr * x.T dh in one product, W1 itself being what it adds to.
        status |= capi.sgemm(
            1, 0, d, h, n, -lr, &self.x[0, 0], d, &self.dh[0, 0], h, 1, &self.W1[0, 0], h)
        descend(h * c, &self.W2[0, 0], &self.dW2[0, 0], lr)
        descend(c, &self.b2[0], &self.db2[0], lr)
        descend(h, &self.gamma[0], &self.dgamma[0], lr)
        descend(h, &self.beta[0], &self.dbeta[0], lr)
        return status

    cdef double to_gradient(
        self, const long[::1] labels, const long[::1] batch) noexcept nogil:
        """Turn the scores, still without b2, into their gradient; the sum of the losses."""
        cdef Py_ssize_t n = batch.shape[0], c = self.classes, i, j, label
        cdef float top, total
        cdef double loss = 0
        self.db2[:] = 0
        for i in range(n):
            label = labels[batch[i]]
            top = self.scores[i, 0] + self.b2[0]
            for j in range(c):
                self.scores[i, j] += self.b2[j]
                top = max(top, self.scores[i, j])
            total = 0
            for j in range(c):
                total += <float>exp(self.scores[i, j] - top)
            loss -= self.scores[i, label] - top - log(total)
            for j in range(c):
                self.scores[i, j] = (
                    <float>exp(self.scores[i, j] - top) / total - (j == label)) / n
                self.db2[j] += self.scores[i, j]
        return loss

    def predict(self, const float[:, ::1] x):
        """Scores of all samples, by the running statistics."""
        cdef Py_ssize_t n = x.shape[0], d = self.inputs, h = self.hidden, c = self.classes, i, j
        if x.shape[1] != d or n == 0:
            raise ValueError(f"x has {n} x {x.shape[1]} values, the net takes {d}")
        cdef float[:, ::1] z = np.empty((n, h), "f"), scores = np.empty((n, c), "f")
        cdef int status = capi.OK
        with nogil:
            status |= capi.sgemm(0, 0, n, h, d, 1, &x[0, 0], d, &self.W1[0, 0], h, 0, &z[0, 0], h)
            status |= capi.sbatchnorm_inference(
                n, h, 1, &z[0, 0], &self.gamma[0], &self.beta[0], 1e-5, 1,
                &self.running_mean[0], &self.running_var[0], &z[0, 0])
            for i in range(n):
                scores[i, :] = self.b2
            status |= capi.sgemm(
                0, 0, n, c, h, 1, &z[0, 0], h, &self.W2[0, 0], c, 1, &scores[0, 0], c)
        if status != capi.OK:
            raise RuntimeError(f"fastbn returned {status}")
        return np.asarray(scores)


cdef void descend(Py_ssize_t n, float* p, const float* gradient, float lr) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] -= lr * gradient[i]


def product(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """C = A B by fastbn's kernel."""
    cdef int status
    with nogil:
        status = capi.sgemm(
            0, 0, a.shape[0], b.shape[1], a.shape[1], 1, &a[0, 0], a.shape[1], &b[0, 0],
            b.shape[1], 0, &c[0, 0], c.shape[1])
    return status


def batch_norm(
    const float[:, ::1] x, const float[::1] gamma, const float[::1] beta, float[:, ::1] y,
    float[::1] saved):
    """Batch normalization over the rows by fastbn's kernel."""
    cdef int status
    with nogil:
        status = capi.sbatchnorm_forward(
            x.shape[0], x.shape[1], 1, &x[0, 0], &gamma[0], &beta[0], 1e-5, 0, 0.1, 1, NULL, NULL,
            &y[0, 0], &saved[0])
    return status
