"""A trigger with a painting makes a new style, and the next run paints in it. Needs the environment of `make torch`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from batchscore.compute.base import Location
from batchscore.models import ModelStore
from batchscore.runs import RunState
from tests.acceptance.hosts import ROOT, User, user_of_a_host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_S = 300

PYTHON = ROOT / ".venv-torch" / "bin" / "python"
PAINTING = ROOT / "samples" / "paintings" / "langlois-bridge.jpg"
TRAIN = ROOT / "scoring" / "style_transfer" / "train.py"
SMALL = {"steps": 4, "size": 64, "painting_side": 96}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(load_sample_images().images):
        Image.fromarray(pixels).resize((240, 160)).save(folder / f"{number}.jpg")
    (folder / "torn.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[User]:
    assert PYTHON.is_file(), "these tests train with PyTorch: run 'make torch' first"
    environment = {"LOCAL_PYTHON": json.dumps({"batchscore-torch": str(PYTHON)})}
    with user_of_a_host(tmp_path_factory.mktemp("training"), **environment) as user:
        user.upload("pictures/bridge.jpg", PAINTING.read_bytes())
        for photo in photos.iterdir():
            user.upload(f"photos/{photo.name}", photo.read_bytes())
        yield user


def training(**inputs: object) -> dict[str, object]:
    given = {"painting": "pictures/bridge.jpg", "photos": "photos", **SMALL, **inputs}
    return {"workload": "style_transfer/train", "inputs": given}


def test_a_trained_style_is_found_by_name_and_paints(user: User) -> None:
    run = user.wait(user.drop(training(style_name="my-bridge")), patience_s=PATIENCE_S)
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.published == {"style": "my-bridge:1"}
    models = user.application.storage.container("system", "models")
    card = models.download_blob("my-bridge/1/CARD.md").readall().decode()
    assert "pan error" in card
    assert "2 photographs" in card, "the torn one is left out"
    assert len(models.download_blob("my-bridge/1/losses.csv").readall().splitlines()) == 1 + SMALL["steps"]

    pixels = load_sample_images().images[0][:150, :251]
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG")
    user.upload("frames/china.png", picture.getvalue())
    painted = user.run(
        {"workload": "style_transfer/frames", "inputs": {"frames": "frames", "style": "my-bridge"}}
    )
    assert painted.state is RunState.SUCCEEDED, painted.reason
    assert painted.job is not None
    assert painted.job.inputs["style"] == Location("system", "models", "my-bridge/1")
    [result] = [
        data
        for output in painted.results or {}
        for name, data in user.results(painted, output).items()
        if name == "china.png"
    ]
    after = np.asarray(Image.open(io.BytesIO(result)))
    assert after.shape == pixels.shape
    assert np.abs(after.astype(int) - pixels).mean() > 15


def test_what_cannot_be_trained_on_is_said(user: User) -> None:
    user.upload("none/notes.txt", b"words")
    run = user.wait(user.drop(training(style_name="nothing", photos="none")), patience_s=PATIENCE_S)
    assert run.state is RunState.FAILED
    assert "no photograph in the folder photos" in run.reason
    user.upload("pictures/words.jpg", b"words")
    run = user.wait(
        user.drop(training(style_name="nothing", painting="pictures/words.jpg")), patience_s=PATIENCE_S
    )
    assert run.state is RunState.FAILED
    assert "words.jpg is not a picture that can be read" in run.reason
    assert "Traceback" not in run.reason
    assert ModelStore(user.application.storage).versions("nothing") == []


def train(photos: Path, folder: Path) -> subprocess.Popen[str]:
    command = [
        str(PYTHON),
        str(TRAIN),
        "--painting",
        str(PAINTING),
        "--photos",
        str(photos),
        "--training",
        str(folder),
    ]
    command += ["--steps", "5", "--size", "64", "--painting-side", "96", "--checkpoint-every", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # with more threads, sums may come in another order
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_training_that_was_killed_goes_on_from_its_checkpoint_to_the_same_result(
    photos: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    said, _ = train(photos, whole).communicate(timeout=200)
    assert "step 5/5" in said
    first = train(photos, cut)
    deadline = time.monotonic() + 60
    while not (cut / "checkpoint.npz").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    first.communicate()
    with np.load(cut / "checkpoint.npz") as checkpoint:
        done = int(checkpoint["step"])
    assert 0 < done < 5, "killed in the middle"
    said, _ = train(photos, cut).communicate(timeout=200)
    assert f"going on after step {done} of 5" in said
    with np.load(whole / "checkpoint.npz") as expected, np.load(cut / "checkpoint.npz") as found:
        assert set(expected.files) == set(found.files)
        assert all(np.array_equal(expected[name], found[name]) for name in expected.files)


def test_a_python_without_pytorch_says_how_to_get_it(photos: Path, tmp_path: Path) -> None:
    command = [str(ROOT / ".venv" / "bin" / "python"), str(TRAIN), "--painting", str(PAINTING)]
    command += ["--photos", str(photos), "--training", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "training needs the package torch" in ended.stderr
    assert "'make torch' makes an environment that has it" in ended.stderr
    assert "Traceback" not in ended.stderr
