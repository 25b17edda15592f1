"""What can go wrong in style transfer.

StyleTransferError
├── VideoError      the video cannot be used, or part of it cannot be read
├── PictureError    a picture cannot be read
├── StyleError      the style is missing, given twice, or unusable
├── ResultError     a step's result is missing or not whole
└── TrainingError   a style cannot be trained from what was given, or where it was asked for
"""

from __future__ import annotations


class StyleTransferError(Exception):
    """Something went wrong; the message names the file, what is wrong with it and what would be right."""


class VideoError(StyleTransferError):
    """The video cannot be used, or a part of it cannot be read."""


class PictureError(StyleTransferError):
    """The picture cannot be read."""


class StyleError(StyleTransferError):
    """The style is missing, given twice, or cannot be used."""


class ResultError(StyleTransferError):
    """What an earlier step should have left is missing or not whole."""


class TrainingError(StyleTransferError):
    """A style cannot be trained: something it needs is missing or cannot be used."""
