"""Adds up the values of the readings that a manifest lists, by device, once the gate is open."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import time
from collections import Counter
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("--readings", "--manifest", "--predictions", "--gate"):
    parser.add_argument(name, type=Path)
parser.add_argument("--hour")
arguments = parser.parse_args()

manifest = json.loads(arguments.manifest.read_text())
assert manifest["hour"] == arguments.hour
sums: Counter[str] = Counter()
for blob in manifest["blobs"]:
    data = (arguments.readings / blob["name"]).read_bytes()
    assert len(data) == blob["size"], blob["name"]
    assert base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() == blob["md5"]
    for line in data.splitlines():
        reading = json.loads(line)
        sums[reading["device"]] += reading["value"]
while arguments.gate is not None and not arguments.gate.exists():
    time.sleep(0.02)
arguments.predictions.mkdir(parents=True, exist_ok=True)
(arguments.predictions / "sums.json").write_text(json.dumps({"version": manifest["version"], "sums": sums}))
