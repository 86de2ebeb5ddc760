"""CRC-32C (Castagnoli), and the masked form in which TensorFlow stores it.

A checksum of bytes that hold checksums is weak, so what is stored is rotated by 15 bits and shifted by a constant
(tensorflow/tsl/lib/hash/crc32c.h, after LevelDB's util/crc32c.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import google_crc32c

if TYPE_CHECKING:
    import numpy as np

MASK_DELTA = 0xA282EAD8
WORD = 0xFFFFFFFF


def crc32c(data: bytes | np.ndarray, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, going on from the `crc` of what came before it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    return cast("int", google_crc32c.extend(crc, data))


def mask(crc: int) -> int:
    """Return the form that is stored.

    >>> hex(mask(0))
    '0xa282ead8'
    """
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & WORD


def unmask(stored: int) -> int:
    """Return the CRC whose masked form is `stored`."""
    rotated = (stored - MASK_DELTA) & WORD
    return (rotated >> 17 | rotated << 15) & WORD
