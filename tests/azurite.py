"""What tests need of storage: settings on an Azurite of their own, and the reading of what is in it."""

from __future__ import annotations

import uuid
from pathlib import Path

from batchscore.settings import Settings
from batchscore.storage import Storage


def settings_for(connection_string: str, work: Path, **environment: str) -> Settings:
    """Settings on this Azurite, with trigger and data containers that no other test has."""
    mark = uuid.uuid4().hex[:10]
    return Settings.from_environment(
        {
            "AzureWebJobsStorage": connection_string,
            "DATA_STORAGE": connection_string,
            "TRIGGER_CONTAINER": f"triggers-{mark}",
            "DATA_CONTAINER": f"data-{mark}",
            "LOCAL_WORK_FOLDER": str(work),
            **environment,
        }
    )


def blob_names(storage: Storage, account: str, container: str, prefix: str = "") -> list[str]:
    """The names of the blobs below a prefix, in order."""
    return sorted(storage.container(account, container).list_blob_names(name_starts_with=prefix))


def blob_text(storage: Storage, account: str, container: str, name: str) -> str:
    """One blob's content as text."""
    return storage.container(account, container).download_blob(name).readall().decode()
