"""Entry script of the pack step: the models of all shards become one model set that says what it was made of."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import sklearn

from common.receipts import utc_now
from sensors.errors import SensorsError, TrainingError
from sensors.fit_shards import fitting_arguments, fitting_of
from sensors.fitted_shard import FittedShard, read_fitted
from sensors.gather import COUNTS
from sensors.model_set import SkippedSensor, verify_model_set, write_model_set
from sensors.packed_models import named, together
from sensors.shard_results import check_results
from sensors.shards import shard_paths

MOST_SHOWN = 10


def main() -> None:
    """Pack; a sentence about the set, and the first sensors that have no model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the name of the model set")
    fitting_arguments(parser)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--gathered", type=Path, required=True)
    parser.add_argument("--fitted", type=Path, required=True)
    parser.add_argument("--receipts", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder for the model set")
    args, _ = parser.parse_known_args()
    try:
        fitting = fitting_of(args)
        shards = shard_paths(args.shards)
        check_results(shards, args.fitted, args.receipts, "fitted")
        parts = [read_fitted(args.fitted, shard.name) for shard in shards]
        counts = json.loads((args.gathered / COUNTS).read_bytes())
        parameters = {
            "nu": fitting.nu,
            "gamma": fitting.gamma,
            "min_samples": fitting.min_samples,
            "max_samples": fitting.max_samples,
            "seed": fitting.seed,
            "interval": counts["interval"],
            "aggregation": counts["aggregation"],
            "after": args.after,
            "until": args.until,
        }
        print(pack(args.models, args.name, parts, parameters, counts["readings"]), flush=True)
    except SensorsError as error:
        sys.exit(f"error: {error}")


def pack(
    folder: Path,
    name: str,
    parts: Sequence[FittedShard],
    parameters: Mapping[str, Any],
    readings: Mapping[str, int],
) -> str:
    """Write the set and read it again, all of it; says in a sentence what it holds. TrainingError when it is empty."""
    skipped = sorted((each for part in parts for each in part.skipped), key=lambda each: each.sensor)
    figures = sorted((each for part in parts for each in part.figures), key=lambda each: each.sensor)
    if not figures:
        raise TrainingError(
            f"none of {len(skipped)} sensors has a model: {_reasons(skipped) or 'no readings'}."
        )
    models = together([models for part in parts for models in part.models])
    samples = np.array([each.samples for each in figures])
    rate = float(np.average([each.training_anomaly_rate or 0.0 for each in figures], weights=samples))
    write_model_set(
        folder,
        models,
        figures,
        skipped,
        name=name,
        created_at=utc_now(),
        readings={
            "from": _moment(min(part.first_ns for part in parts if part.first_ns is not None)),
            "to": _moment(max(part.last_ns for part in parts if part.last_ns is not None)),
            "values": sum(part.values for part in parts),
            **readings,
        },
        parameters=parameters,
        samples=int(samples.sum()),
        training_anomaly_rate=rate,
        spread_over_steps=sum(part.spread for part in parts),
        less_exact=sum(part.coarse for part in parts),
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
    )
    verify_model_set(folder)
    said = (
        f"{name}: {len(models)} sensors, {len(models.support_vectors) / len(models):.1f} support vectors each; "
        f"{100 * rate:.2f} % of the training readings are abnormal"
    )
    return said + (f"; {len(skipped)} sensors have no model: {_reasons(skipped)}" if skipped else "")


def _reasons(skipped: Sequence[SkippedSensor]) -> str:
    shown = [f"{named(each.sensor)}: {each.reason}" for each in skipped[:MOST_SHOWN]]
    more = len(skipped) - len(shown)
    return "; ".join(shown) + (f"; and {more} more (skipped.csv)" if more else "")


def _moment(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns').astype('datetime64[ms]')}Z"


if __name__ == "__main__":
    main()
