"""Any picture: what people have in their folders is painted rightly; what cannot be fails alone, with its reason.

Every file goes through Blob, the host and the local engine in one run, with a style that inverts. The results are
read by ffmpeg, which has nothing to do with the product.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batchscore.models import ModelStore
from batchscore.runs import Run, RunState
from tests.acceptance.hosts import ROOT, User, user_of_a_host
from tests.ffmpeg import Probe
from tests.picture_files import HARD_NAMES, sound_files, unsound_files
from tests.style_clips import make_style

SOUND, UNSOUND = sound_files(), unsound_files()
HARD_STYLE = 'style/it\'s 100% "new" #1 – Ölbild.jpg'


@dataclass(frozen=True)
class Painted:
    """The one run and what it left."""

    run: Run
    pictures: dict[str, bytes]
    report: dict[str, bytes]

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.report[name].decode())))


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with user_of_a_host(tmp_path_factory.mktemp("product")) as user:
        yield user


@pytest.fixture(scope="module")
def painted(user: User, tmp_path_factory: pytest.TempPathFactory) -> Painted:
    store = ModelStore(user.application.storage)
    store.publish("inverted", make_style(tmp_path_factory.mktemp("style")))
    for name, file in (SOUND | UNSOUND).items():
        user.upload(f"pictures/{name}", file.content)
    run = user.run(
        {"workload": "style_transfer/frames", "inputs": {"frames": "pictures", "style": "inverted"}}
    )
    return Painted(run, user.results(run, "stylized"), user.results(run, "report"))


def result_name(name: str) -> str:
    return f"{name}.png" if name.endswith(".gif") else name


def test_every_sound_picture_is_delivered_under_its_own_name(painted: Painted) -> None:
    assert painted.run.state is RunState.SUCCEEDED_WITH_ERRORS, painted.run.reason
    assert set(painted.pictures) == {result_name(name) for name in SOUND}
    assert painted.run.summary is not None
    assert (painted.run.summary.ok, painted.run.summary.failed) == (len(SOUND), len(UNSOUND))


@pytest.mark.parametrize("name", sorted(SOUND.keys() - set(HARD_NAMES)))
def test_it_is_painted_from_the_right_pixels(painted: Painted, name: str, tmp_path: Path) -> None:
    """Upright, of the right size, neither clipped nor in wrong colours, and nothing turns it once more."""
    expected, content = SOUND[name], painted.pictures[result_name(name)]
    file = tmp_path / f"picture{Path(name).suffix}"
    file.write_bytes(content)
    probe = Probe(file)
    height, width, _ = expected.pixels.shape
    assert (probe.video["codec_name"], probe.size) == (expected.written_as, (width, height))
    assert not probe.rotation, "nothing is left that turns it again"
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.getexif().get(0x0112, 1) == 1
        assert getattr(picture, "n_frames", 1) == 1
        assert picture.has_transparency_data == expected.alpha
    difference = np.abs(probe.pictures()[0].astype(int) - (255 - expected.pixels.astype(int)))
    assert difference.mean(axis=(0, 1)).max() <= expected.tolerance
    assert np.percentile(difference, 95) <= 8 * expected.tolerance


@pytest.mark.parametrize("name", HARD_NAMES)
def test_no_name_is_mistaken_for_another(painted: Painted, name: str) -> None:
    assert painted.pictures[name] == painted.pictures["plain.png"]


def test_transparency_stays_as_it_was(painted: Painted) -> None:
    with (
        Image.open(io.BytesIO(SOUND["alpha.png"].content)) as before,
        Image.open(io.BytesIO(painted.pictures["alpha.png"])) as after,
    ):
        assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()


@pytest.mark.parametrize("name", UNSOUND)
def test_what_cannot_be_painted_is_one_failed_item_with_a_sentence_that_names_it(
    painted: Painted, name: str
) -> None:
    assert painted.run.summary is not None
    [failure] = [each for each in painted.run.summary.failures if each.item == name]
    assert failure.error.startswith(f"{name} ")
    assert UNSOUND[name].reason in failure.error
    assert {"item": name, "reason": failure.error} in painted.table("failed.csv")


def test_a_file_of_several_pictures_is_noted(painted: Painted) -> None:
    assert painted.table("notes.csv") == [
        {"item": name, "note": f"holds {file.pictures} pictures; the first one was painted"}
        for name, file in sorted(SOUND.items())
        if file.pictures > 1
    ]


def test_a_style_picture_may_have_any_name_too(user: User) -> None:
    user.upload(HARD_STYLE, (ROOT / "samples" / "paintings" / "starry-night.jpg").read_bytes())
    user.upload("one picture/a.png", SOUND["plain.png"].content)
    inputs = {"frames": "one picture", "style_image": HARD_STYLE}
    run = user.run({"workload": "style_transfer/frames", "inputs": inputs})
    assert run.state is RunState.SUCCEEDED, run.reason
    assert set(user.results(run, "stylized")) == {"a.png"}


def test_digits_are_read_from_the_same_files(user: User) -> None:
    """Whatever the file is like there is one row for it or one reason."""
    sound = {name: file for name, file in SOUND.items() if name in HARD_NAMES or "turned" not in name}
    unsound = {name: file for name, file in UNSOUND.items() if name != "huge.png"}
    for name, file in (sound | unsound).items():
        user.upload(f"numbers/{name}", file.content)
    run = user.run({"workload": "digits/classify", "inputs": {"images": "numbers"}})
    assert run.state is RunState.SUCCEEDED_WITH_ERRORS, run.reason
    results = user.results(run, "predictions")
    rows = list(csv.DictReader(io.StringIO(results["predictions.csv"].decode())))
    assert [row["File"] for row in rows] == sorted(sound)
    assert run.summary is not None
    assert {each.item for each in run.summary.failures} == set(unsound)
    assert prediction_of(rows, "16 bits grey.png") == prediction_of(rows, "grey.jpg")


def prediction_of(rows: list[dict[str, str]], name: str) -> str:
    [row] = [row for row in rows if row["File"] == name]
    return row["Prediction"]
