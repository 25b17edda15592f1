"""What can go wrong with sensors.

SensorsError
├── ModelSetError   a set of models is missing, not whole, or holds what no model can be
├── ReadingsError   readings, or how they are to be taken together, cannot be used
├── ResultError     what an earlier step should have left is missing or not whole
└── TrainingError   models cannot be trained as it was asked for, or of what was given
"""

from __future__ import annotations


class SensorsError(Exception):
    """Something went wrong; the message names the file, what is wrong with it and what would be right."""


class ModelSetError(SensorsError):
    """A set of models cannot be read or written."""


class ReadingsError(SensorsError):
    """Readings, or how they are to be taken together, cannot be used."""


class ResultError(SensorsError):
    """What an earlier step should have left is missing or not whole."""


class TrainingError(SensorsError):
    """Models cannot be trained as it was asked for, or of what was given."""
