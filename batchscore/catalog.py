"""What planning asks storage: what is there, how much of it, which models, what is deployed, what runs took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from azure.core.exceptions import ResourceNotFoundError

from batchscore.compute.base import Location
from batchscore.deployment import Deployment, read_deployment
from batchscore.holdings import Amount, Inventory
from batchscore.measured import Measurements, RunSample
from batchscore.models import ModelStore
from batchscore.storage import LIST_PAGE, Storage, translated

MOST_COUNTED = 50_000
"""Blobs of an input that are counted for an estimate: that many take some seconds to list."""


class Catalog(Inventory, Protocol):
    """What planning asks storage."""

    def blob_exists(self, location: Location) -> bool: ...

    def holds_blobs(self, location: Location) -> bool: ...

    def model(self, reference: str) -> Location: ...

    def kept_from_runs(self, model: str) -> str | None: ...

    def deployment(self) -> Deployment | None: ...

    def remember(self, workload: str, sample: RunSample) -> None: ...


class StorageCatalog:
    """The Catalog of the real accounts."""

    def __init__(self, storage: Storage, shipped_models: Path) -> None:
        self._storage = storage
        self._shipped = shipped_models

    def blob_exists(self, location: Location) -> bool:
        container = self._storage.container(location.account, location.container)
        with translated(str(location)):
            return container.get_blob_client(location.path).exists()

    def holds_blobs(self, location: Location) -> bool:
        container = self._storage.container(location.account, location.container)
        with translated(str(location)):
            try:
                pages = container.list_blob_names(name_starts_with=f"{location.path}/", results_per_page=1)
                return next(iter(pages), None) is not None
            except ResourceNotFoundError:
                return False

    def model(self, reference: str) -> Location:
        return ModelStore(self._storage, self._shipped).resolve(reference)

    def kept_from_runs(self, model: str) -> str | None:
        return ModelStore(self._storage, self._shipped).kept_from_runs(model)

    def deployment(self) -> Deployment | None:
        return read_deployment(self._storage)

    def amount(self, location: Location, kind: str) -> Amount:
        if kind == "uri_file":
            container = self._storage.container(location.account, location.container)
            with translated(str(location)):
                try:
                    return Amount(1, container.get_blob_client(location.path).get_blob_properties().size)
                except ResourceNotFoundError:
                    return Amount()
        from batchscore.compute.local.wire import Wire  # beside the engine, which doors do without

        wire = Wire(self._storage, connections=1)
        try:
            found = wire.listed(location.account, location.container, f"{location.path}/", LIST_PAGE)
            sizes = [blob.size for blob in islice(found, MOST_COUNTED)]
        finally:
            wire.close()
        return Amount(len(sizes), sum(sizes), len(sizes) < MOST_COUNTED)

    def measured(self, workload: str) -> Sequence[RunSample]:
        return Measurements(self._storage).read(workload)

    def remember(self, workload: str, sample: RunSample) -> None:
        Measurements(self._storage).add(workload, sample)
