"""The computes there are: a name, where its factory is, and what to install for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from batchscore.compute.base import Compute
from batchscore.errors import SettingsError
from batchscore.settings import Settings
from batchscore.storage import Storage


@dataclass(frozen=True)
class Entry:
    """`factory` is `module:function`, called with settings and storage; nothing is imported before it is asked for."""

    factory: str
    install: str


COMPUTES = {
    "local": Entry("batchscore.compute.local:open_local", "pip install -r requirements.txt"),
    "azureml": Entry("batchscore.compute.azureml:open_azureml", "pip install -r requirements.txt"),
}


def open_compute(settings: Settings, storage: Storage) -> Compute:
    """The compute that the setting COMPUTE names. SettingsError says which there are, or what to install."""
    entry = COMPUTES.get(settings.compute)
    if entry is None:
        raise SettingsError(f"COMPUTE is {settings.compute!r}; there is {', '.join(COMPUTES)}.")
    module, _, function = entry.factory.partition(":")
    try:
        factory = getattr(import_module(module), function)
        return cast("Compute", factory(settings, storage))
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"COMPUTE is {settings.compute!r}, which needs {error.name}. Install it: {entry.install}"
        ) from error
