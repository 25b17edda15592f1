"""Convolution kernels in other forms, which compute the same in less time on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]


def on_small_pixels(kernel: Floats) -> Floats:
    """A 3×3 kernel for an enlarged picture as a 2×2 one for the small picture: [4 * out, in, 2, 2].

    In a picture enlarged twofold by repeating pixels, two of three taps in a row always read the same small
    pixel. So the four large pixels around a corner between small ones are a 2×2 convolution of those to four
    times the channels, and DepthToSpace (blocks of 2, DCR) puts them in place.
    """
    out_channels, in_channels = kernel.shape[:2]
    # taps[phase, offset, tap]: whether, for that large pixel, the tap reads the small pixel at that offset
    taps = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], np.float64)
    small = np.einsum("yut,xvs,octs->yxocuv", taps, taps, kernel.astype(np.float64))
    result: Floats = small.reshape(4 * out_channels, in_channels, 2, 2).astype(np.float32)
    return result


def at_four_places(kernel: Floats) -> Floats:
    """A kernel [out, in, h, w] at the four places of a block of 2×2 pixels: [4 * out, in, h + 1, w + 1].

    With stride 2 and DepthToSpace (blocks of 2, DCR) it gives the same, and four times as many channels: a
    few channels leave most of a vector register empty. The added taps are zero.
    """
    out_channels, in_channels, height, width = kernel.shape
    placed = np.zeros((2, 2, out_channels, in_channels, height + 1, width + 1), np.float32)
    for row in (0, 1):
        for column in (0, 1):
            placed[row, column, :, :, row : row + height, column : column + width] = kernel
    return placed.reshape(4 * out_channels, in_channels, height + 1, width + 1)
