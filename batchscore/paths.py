"""Names: containers, prefixes, run ids. The only place that builds or accepts a path in storage."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from batchscore.compute.base import Location
from batchscore.errors import RequestError
from batchscore.settings import Settings

RUNS = "runs"
MODELS = "models"
LOGS = "logs"
RECONCILE_QUEUE = "reconcile"
POISON_QUEUE = "webjobs-blobtrigger-poison"
RECEIPTS_OUTPUT = "receipts"

LEASE_BLOB = "reconciler.lease"
SWEEP_BLOB = "sweep.json"
DEPLOYMENT_BLOB = "deployments/azureml.json"
RECORDS = "records/"
ACTIVE = "active/"
BY_TIME = "by-time/"
BY_STATE = "by-state/"
REJECTED = "rejected/"
LEFTOVERS = "leftovers/"
MEASURED = "measured/"
HOURS = "hours/"
HOURS_BEGUN = "hours-begun/"
PREDICTIONS = "predictions"
"""The output of a scoring run that becomes its hour's predictions, and the prefix under which those lie."""

RUN_RESULTS = "runs/"
"""The results of runs, in the data container."""
BETWEEN = "between/"
"""What the steps of runs hand to each other, in the data container."""
READINGS = "readings/"
DEAD_LETTERS = "dead-letter/"
WRITTEN_BY_RUNS = (RUN_RESULTS, BETWEEN, f"{PREDICTIONS}/", HOURS, READINGS, DEAD_LETTERS)
"""What the product alone writes in the data container: results, manifests, readings. Nobody outside gets to write there."""

MAX_PATH_LENGTH = 1_024  # of a blob's name, in the Blob service
MAX_PATH_PARTS = 254

_DATASTORE_PREFIX = "batchscore_"
_LATEST_MS = 10**14 - 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_CHARACTER = re.compile(r"[\ufdd0-\ufdef\ufffe\uffff]")
_DRIVE = re.compile(r"^[A-Za-z]:")
_MARKER = re.compile(r"(?:[^/]+/)+([0-9]{14})-([0-9a-f]{20})")
_RUN_ID = re.compile(r"[0-9a-f]{20}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_MODEL_VERSION = re.compile(r"[1-9][0-9]{0,8}")


def run_id(kind: str, *parts: str) -> str:
    """The id of the run that this cause starts: the same cause always gives the same 20 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (kind, *parts):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:20]


def is_blob_name(text: str) -> bool:
    """Whether a blob can have this name. A name with a part '.' or '..' is none: its address is that of another
    blob, perhaps in another container."""
    parts = text.split("/")
    return 0 < len(text) <= MAX_PATH_LENGTH and not any(part in (".", "..") for part in parts)


def is_run_id(text: str) -> bool:
    return _RUN_ID.fullmatch(text) is not None


def begins_run_id(text: str) -> bool:
    """Whether a run's id can begin so."""
    return re.fullmatch("[0-9a-f]{1,20}", text) is not None


def normal_etag(etag: str) -> str:
    """An ETag as one spelling: the service quotes it in some answers and not in others."""
    return etag.strip().removeprefix("W/").strip('"')


def job_name(run: str, attempt: int) -> str:
    return f"{run}-{attempt}"


def record_blob(run: str) -> str:
    return f"{RECORDS}{run}.json"


def rejected_blob(run: str) -> str:
    return f"{REJECTED}{run}.json"


def leftovers_blob(run: str) -> str:
    """The note that a run has succeeded and its intermediates may go."""
    return f"{LEFTOVERS}{run}"


def measured_blob(workload: str) -> str:
    """What earlier runs of a workload took."""
    return f"{MEASURED}{workload}.json"


def active_blob(run: str, queued_at: datetime) -> str:
    """The marker of a run that is not over; markers list in the order in which runs were queued."""
    return f"{ACTIVE}{milliseconds(queued_at):014d}-{run}"


def by_time_blob(run: str, created_at: datetime) -> str:
    """The entry of a run in the index that lists the newest first."""
    return f"{BY_TIME}{inverted(milliseconds(created_at)):014d}-{run}"


def by_state_blob(folder: str, run: str, created_at: datetime) -> str:
    """The entry of a run in the index of the runs in one state, the newest first."""
    return f"{BY_STATE}{folder}/{inverted(milliseconds(created_at)):014d}-{run}"


def marked_run(blob: str) -> tuple[str, int] | None:
    """The run id and the number in the name of an active or by-time blob; None when it is no such name."""
    marker = _MARKER.fullmatch(blob)
    return (marker[2], int(marker[1])) if marker else None


def inverted(number: int) -> int:
    """Milliseconds since 1970 as the number in a by-time blob's name, and back."""
    return _LATEST_MS - number


def milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000)


def input_location(settings: Settings, path: str) -> Location:
    """Where a path that a user gave for a data input lies."""
    return Location("data", settings.data_container, path)


def output_location(
    settings: Settings, run: str, output: str, kind: str = "uri_folder", *, intermediate: bool = False
) -> Location:
    """Where a run keeps an output: receipts and models in the system account with the logs, where outsiders do not
    get, the others in the data account; there, what only the run's own steps read under a prefix of its own, so that
    a lifecycle rule can tell it from results."""
    if output == RECEIPTS_OUTPUT or kind == "custom_model":
        return Location("system", LOGS, f"{run}/{output}")
    folder = between_path(run) if intermediate else f"{RUN_RESULTS}{run}"
    return Location("data", settings.data_container, f"{folder}/{output}")


def between_location(settings: Settings, run: str) -> Location:
    """Where what steps hand to each other lies that is no output of the pipeline, on computes that share no disk."""
    return Location("data", settings.data_container, between_path(run))


def between_path(run: str) -> str:
    return f"{BETWEEN}{run}"


def readings_prefix(hour: datetime) -> str:
    """Where the readings of the hour that starts then have landed, in the data container."""
    return f"{READINGS}{_hour_folder(hour)}"


def readings_blob(hour: datetime, file: str) -> str:
    """A file of landed readings in the data container; the hour is given by its start."""
    return f"{READINGS}{_hour_folder(hour)}/{file}"


def dead_letter_blob(hour: datetime, file: str) -> str:
    """A file of dead letters in the data container; the hour is that in which their events were enqueued."""
    return f"{DEAD_LETTERS}{_hour_folder(hour)}/{file}"


def _hour_folder(hour: datetime) -> str:
    return f"{hour.year:04d}/{hour.month:02d}/{hour.day:02d}/{hour.hour:02d}"


def datastore_name(container: str) -> str:
    """The Azure Machine Learning datastore of a container; a container's name has no `_`, so none is taken twice."""
    return f"{_DATASTORE_PREFIX}{container.replace('-', '_')}"


def container_of(datastore: str) -> str | None:
    """The container of a datastore, None when it is none of ours."""
    if not datastore.startswith(_DATASTORE_PREFIX):
        return None
    return datastore.removeprefix(_DATASTORE_PREFIX).replace("_", "-")


def logs_location(run: str, attempt: int) -> Location:
    return Location("system", LOGS, f"{run}/attempt-{attempt}")


def hour_record_blob(hour: datetime) -> str:
    return f"{HOURS}{_hour_folder(hour)}.json"


def frozen_manifest_blob(hour: datetime, digest: str) -> str:
    """A manifest by its SHA-256 in the system account, where nobody changes it."""
    return f"{HOURS}{_hour_folder(hour)}/{digest}.json"


def hour_begun_blob(hour: str) -> str:
    """The note that a version of this hour is about to be recorded and may not have its run yet."""
    return f"{HOURS_BEGUN}{hour}"


def manifest_path(hour: str, version: int) -> str:
    """The manifest that a scoring run reads, in the data container."""
    return f"{HOURS}{hour}/v{version}.json"


def predictions_location(settings: Settings, hour: str, version: str) -> Location:
    """Where the predictions of one version (`v3`) of an hour lie."""
    return Location("data", settings.data_container, f"{PREDICTIONS}/{hour}/{version}")


def pointer_path(hour: str) -> str:
    """The blob of the data container that tells readers which version of an hour is published."""
    return f"{PREDICTIONS}/{hour}/current.json"


def is_model_name(text: str) -> bool:
    return _MODEL_NAME.fullmatch(text) is not None


def is_model_version(text: str) -> bool:
    return _MODEL_VERSION.fullmatch(text) is not None


def model_location(name: str, version: str) -> Location:
    return Location("system", MODELS, f"{name}/{version}")


def user_path(text: str, what: str) -> str:
    """A path inside the data container as a user wrote it, without a final slash; RequestError says what is wrong."""
    problem = _path_problem(text)
    if problem:
        shown = text if len(text) <= 120 else text[:117] + "..."
        raise RequestError(
            f"{what} is {shown!r}, which {problem}. Give a path inside the data container, such as 'videos/clip.mp4'."
        )
    return text.rstrip("/")


def _path_problem(text: str) -> str | None:
    if not text.strip("/ "):
        return "is empty"
    if len(text) > MAX_PATH_LENGTH:
        return f"has {len(text)} characters, more than the {MAX_PATH_LENGTH} that a blob's name may have"
    if "://" in text or text.lower().startswith(("http:", "https:", "azureml:", "wasb", "abfs")):
        return "is a URL"
    if text.startswith("/") or _DRIVE.match(text):
        return "is an absolute path"
    if "\\" in text:
        return "contains a backslash"
    if _CONTROL.search(text):
        return "contains a control character"
    if _NO_CHARACTER.search(text):
        return "contains a code that is no character"
    segments = text.rstrip("/").split("/")
    if any(segment in (".", "..") for segment in segments):
        return "leaves its folder with '.' or '..'"
    if any(not segment for segment in segments):
        return "has an empty part between two slashes"
    if len(segments) > MAX_PATH_PARTS:
        return f"has {len(segments)} parts, more than the {MAX_PATH_PARTS} that a blob's name may have"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return None
