"""What can go wrong with sensors.

SensorsError
└── ModelSetError   a set of models is missing, not whole, or holds what no model can be
"""

from __future__ import annotations


class SensorsError(Exception):
    """Something went wrong; the message names the file, what is wrong with it and what would be right."""


class ModelSetError(SensorsError):
    """A set of models cannot be read or written."""
