"""The local compute: a pipeline's steps as processes of this machine, with Azure ML's semantics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchscore.compute.base import Compute
    from batchscore.settings import Settings
    from batchscore.storage import Storage


def open_local(settings: Settings, storage: Storage) -> Compute:
    """The local compute. Its attempts make their own clients of storage, so `storage` is not used."""
    del storage
    from batchscore.compute.local.backend import LocalCompute

    return LocalCompute(settings)
