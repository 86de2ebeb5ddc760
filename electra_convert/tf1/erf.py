"""The error function for NumPy arrays, which NumPy lacks, to about one unit in the last place of 1.

Around each of 3,073 points c, 1/512 apart on [0, 6], the Taylor series

    erf(c + h) = erf(c) + 2/sqrt(pi) exp(-c^2) * sum over k of (-1)^k H_k(c) h^(k+1) / (k+1)!     (H Hermite)

is cut after h^5: |h| <= 1/1024, so the next term is below 1e-19. Beyond 6, erf is 1 in double precision.
"""

from __future__ import annotations

import functools
import math

import numpy as np

_PER_UNIT = 512
_END = 6.0
_DEGREE = 5
_PIECE = 1 << 14  # elements at a time: the temporaries of one piece stay in the cache


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function of each element, in the type of `x`; computed in float64."""
    table = _table()
    flat = np.ascontiguousarray(x).reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(invalid="ignore"):  # a NaN has no place in the table, and comes out as NaN
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE].astype(np.float64)
            size = np.minimum(np.abs(piece), _END)
            nearest = (size * _PER_UNIT + 0.5).astype(np.intp)
            h = size - nearest * (1 / _PER_UNIT)
            value = table[_DEGREE].take(nearest, mode="clip")
            for coefficients in table[_DEGREE - 1 :: -1]:
                value *= h
                value += coefficients.take(nearest, mode="clip")
            result[start : start + _PIECE] = np.copysign(value, piece)
    return result.reshape(x.shape)


@functools.cache
def _table() -> np.ndarray:
    """Return the Taylor coefficients, [degree + 1, points]."""
    c = np.arange(int(_END * _PER_UNIT) + 1) / _PER_UNIT
    slope = 2 / math.sqrt(math.pi) * np.exp(-c * c)
    rows = [np.array([math.erf(point) for point in c])]
    before, hermite = np.zeros_like(c), np.ones_like(c)
    for k in range(_DEGREE):
        rows.append((-1) ** k * hermite * slope / math.factorial(k + 1))
        before, hermite = hermite, 2 * c * hermite - 2 * k * before
    return np.stack(rows)
