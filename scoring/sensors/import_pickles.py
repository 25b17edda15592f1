"""Makes a model set of the reference implementation's pickles, one per device and tag, without unpickling any.

python scoring/sensors/import_pickles.py PICKLES SET; batchscore models add sensors SET
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.receipts import utc_now
from sensors.errors import ModelSetError, SensorsError
from sensors.inert_pickle import MOST_BYTES
from sensors.legacy_model import LegacyModel, read_legacy
from sensors.model_set import SensorFigures, SkippedSensor, verify_model_set, write_model_set
from sensors.packed_models import PackedModels, Sensor, named, together
from sensors.svm import decisions, is_anomaly

_FILE = re.compile(r"model_(?P<device>.+)_(?P<tag>[^_]+?)(\.(pkl|pickle))?")
"""As the reference names them: model_<device>_<tag>."""
GRID = 201


def main() -> None:
    """Import; a sentence about the set, and a word on models that call everything abnormal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pickles", type=Path, help="folder of files named model_<device>_<tag>")
    parser.add_argument("models", type=Path, help="folder for the model set")
    parser.add_argument("--name", default="sensors", help="the set's name")
    parser.add_argument(
        "--leave-out",
        action="store_true",
        help="list files that are refused in skipped.csv and go on without them",
    )
    args = parser.parse_args()
    try:
        print(import_pickles(args.pickles, args.models, args.name, leave_out=args.leave_out))
    except SensorsError as error:
        sys.exit(f"error: {error}")


def import_pickles(folder: Path, target: Path, name: str, *, leave_out: bool = False) -> str:
    """Write the set; ModelSetError names every file that is refused, and nothing is written then."""
    found, refused = read_folder(folder)
    if refused and not leave_out:
        listed = "; ".join(f"{folder / file}: {reason}" for file, (_, reason) in refused.items())
        raise ModelSetError(
            f"{len(refused)} of {len(found) + len(refused)} files are refused, so nothing is imported (--leave-out "
            f"goes on without them): {listed}"
        )
    if not found:
        raise ModelSetError(f"no file in {folder} can be imported; one is named model_<device>_<tag>.")
    models = together([each.model for each in found.values()])
    figures = [
        SensorFigures(sensor, found[sensor].samples, len(found[sensor].model.support_vectors), None)
        for sensor in models.sensors
    ]
    skipped = [
        SkippedSensor(sensor, 0, f"{file}: {reason}") for file, (sensor, reason) in sorted(refused.items())
    ]
    nus = [each.nu for each in found.values()]
    write_model_set(
        target,
        models,
        figures,
        skipped,
        name=name,
        created_at=utc_now(),
        parameters={"imported_from": "scikit-learn pickles", "nu": min(nus) if len(set(nus)) == 1 else None},
        versions={"scikit-learn": ", ".join(sorted({each.version for each in found.values()}))},
    )
    verify_model_set(target)
    said = f"{target}: {len(models)} models of {name}"
    blind = blind_sensors(models)
    if blind:
        said += (
            f". {len(blind)} of them call everything abnormal, such as that of {named(blind[0])}: train these sensors "
            "anew (sensors/train)"
        )
    return said


def read_folder(folder: Path) -> tuple[dict[Sensor, LegacyModel], dict[str, tuple[Sensor, str]]]:
    """The models of a folder by sensor, and the files that are refused: their sensor and the reason."""
    found: dict[Sensor, LegacyModel] = {}
    refused: dict[str, tuple[Sensor, str]] = {}
    if not folder.is_dir():
        raise ModelSetError(f"{folder} is not a folder. Give the one that holds the pickles.")
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        match = _FILE.fullmatch(path.name)
        sensor = (match["device"], match["tag"]) if match else (path.name, "?")
        problem = None if match else "its name says no device and tag; it must be model_<device>_<tag>."
        if sensor in found:
            problem = f"there is another file for {named(sensor)}."
        if problem is None:
            try:
                with path.open("rb") as stream:
                    found[sensor] = read_legacy(sensor, stream.read(MOST_BYTES + 1))
            except (ModelSetError, OSError) as error:
                problem = str(error)
        if problem is not None:
            refused[path.name] = (sensor, problem)
    return found, refused


def blind_sensors(models: PackedModels) -> list[Sensor]:
    """The sensors whose model calls every value abnormal, also between its support vectors, where it is most lenient."""
    starts = models.offsets[:-1]
    lows, highs = (edge.reduceat(models.support_vectors, starts) for edge in (np.minimum, np.maximum))
    grid = lows[:, None] + (highs - lows)[:, None] * np.linspace(0, 1, GRID)
    values = grid * models.scale[:, None] + models.mean[:, None]
    found = decisions(models, values.ravel(), np.arange(0, values.size + 1, GRID))
    blind = is_anomaly(found).reshape(values.shape).all(axis=1)
    return [models.sensors[index] for index in np.flatnonzero(blind).tolist()]


if __name__ == "__main__":
    main()
