"""Drop a trigger file, get the result: the shipped workloads through the host, Azurite and the local engine."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.models import ModelStore
from batchscore.runs import Run, RunState
from tests.acceptance.hosts import ROOT, User, user_of_a_host, wait_until

GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
PAINTING = ROOT / "samples" / "paintings" / "starry-night.jpg"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with user_of_a_host(tmp_path_factory.mktemp("product")) as user:
        user.upload("style/painting.jpg", PAINTING.read_bytes())
        yield user


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    maker = ROOT / "scoring" / "style_transfer" / "sample_clip.py"
    size = ["--seconds", "5", "--width", "160", "--height", "90"]
    subprocess.run([sys.executable, str(maker), str(path), *size], check=True, stdout=subprocess.DEVNULL)
    return path


def packets(data: bytes | Path, kind: str) -> list[bytes]:
    source = str(data) if isinstance(data, Path) else io.BytesIO(data)
    with av.open(source) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if packet.size]


def frame_times(data: bytes | Path) -> list[float]:
    source = str(data) if isinstance(data, Path) else io.BytesIO(data)
    with av.open(source) as container:
        return [round(frame.time or 0, 4) for frame in container.decode(video=0)]


def first_frame(data: bytes | Path) -> Any:
    with av.open(str(data) if isinstance(data, Path) else io.BytesIO(data)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


def video_body(**inputs: Any) -> dict[str, Any]:
    return {"workload": "style_transfer/video", "inputs": {"style_image": "style/painting.jpg", **inputs}}


def receipts(user: User, run: Run) -> list[dict[str, Any]]:
    place = paths.output_location(user.application.settings, run.id, paths.RECEIPTS_OUTPUT)
    return [json.loads(line) for line in user.application.receipt_lines(place)]


def test_a_video_is_painted_with_its_timestamps_and_its_sound(user: User, clip: Path) -> None:
    user.upload("videos/clip.mp4", clip.read_bytes())
    run = user.run(video_body(video="videos/clip.mp4"))
    assert run.state is RunState.SUCCEEDED, run.reason
    results = user.results(run, "result")
    assert set(results) == {"clip.mp4", "timings.csv", "before-after.jpg"}
    assert frame_times(results["clip.mp4"]) == frame_times(clip)
    assert packets(results["clip.mp4"], "audio") == packets(clip, "audio")
    assert run.results is not None
    assert set(run.results) == {"result"}

    told = receipts(user, run)
    assert len({receipt["item"] for receipt in told}) == len(told) == run.items[0]
    assert run.summary is not None
    assert (run.summary.ok, run.summary.failed) == (len(told), 0)
    assert set(run.summary.median_milliseconds) >= {"decode", "infer", "encode"}
    rows = list(csv.DictReader(io.StringIO(results["timings.csv"].decode())))
    assert sum(int(row["frames"]) for row in rows) == len(frame_times(clip))

    logs = list(user.application.storage.container("system", "logs").list_blob_names(name_starts_with=run.id))
    assert {"split", "stylize", "stitch"} <= {part for name in logs for part in name.split("/")}
    wait_until(lambda: not list((user.application.settings.local_work_folder / run.id).glob("*")))


@pytest.fixture(scope="module")
def starry(user: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a style that has been added to the models."""
    folder = tmp_path_factory.mktemp("style")
    baker = ROOT / "scoring" / "models" / "bake_style.py"
    command = [sys.executable, str(baker), str(PAINTING), "--name", "starry", "--output", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ModelStore(user.application.storage).publish("starry", folder / "starry")
    return "starry"


def test_a_style_is_a_model_by_name_and_strength_zero_keeps_the_original(
    user: User, clip: Path, starry: str
) -> None:
    user.upload("videos/clip.mp4", clip.read_bytes())
    by_name = {"video": "videos/clip.mp4", "style": starry}
    styled, untouched = (
        user.run({"workload": "style_transfer/video", "inputs": {**by_name, "strength": strength}})
        for strength in (1, 0)
    )
    assert styled.state is untouched.state is RunState.SUCCEEDED, styled.reason + untouched.reason
    assert styled.job is not None
    assert styled.job.inputs["style"] == Location("system", "models", "starry/1")
    before, after, same = (
        first_frame(data)
        for data in (
            clip,
            user.results(styled, "result")["clip.mp4"],
            user.results(untouched, "result")["clip.mp4"],
        )
    )
    assert abs(same - before).mean() < 6
    assert abs(after - before).mean() > 20


def test_a_video_dropped_in_the_inbox_is_painted_once_in_a_shipped_style_without_a_trigger_file(
    user: User, clip: Path
) -> None:
    starry = "starry-night"
    run = user.wait(user.put(f"inbox/style_transfer/video/{starry}/My clip.mp4", clip.read_bytes()))
    assert run.state is RunState.SUCCEEDED, run.reason
    assert run.cause.kind == "inbox_file"
    assert "My clip.mp4" in user.results(run, "result")
    assert run.job is not None
    assert run.job.inputs["style"] == Location("system", "models", "starry-night/1")
    wrong = user.wait(user.put(f"inbox/style_transfer/video/{starry}/My clip.docx", b"words"))
    assert wrong.state is RunState.REJECTED
    assert "takes: *.mp4" in wrong.reason
    unknown = user.wait(user.put("inbox/style_transfer/video/no-such-style/clip.mp4", clip.read_bytes()))
    assert unknown.state is RunState.REJECTED
    assert "no model 'no-such-style'" in unknown.reason
    caused = [run.cause.name for run in user.application.store.recent(100)]
    assert caused.count(run.cause.name) == 1


def test_a_model_that_is_none_is_named(user: User, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    ModelStore(user.application.storage).publish("broken", tmp_path)
    user.upload("videos/clip.mp4", clip.read_bytes())
    run = user.run(
        {"workload": "style_transfer/video", "inputs": {"video": "videos/clip.mp4", "style": "broken"}}
    )
    assert run.state is RunState.FAILED
    assert "broken-1" in run.reason
    assert "Traceback" not in run.reason


def test_a_folder_of_frames_is_painted_and_a_corrupt_one_named(user: User) -> None:
    for number, mode in enumerate(["RGB", "L", "RGBA", "RGB"]):
        picture = io.BytesIO()
        Image.new(mode, (64 + 16 * (number % 2), 48), 90).save(picture, "PNG")
        user.upload(f"frames/frame {number}.png", picture.getvalue())
    user.upload("frames/torn.png", picture.getvalue()[:60])
    inputs = {"frames": "frames/", "style_image": "style/painting.jpg"}
    run = user.run({"workload": "style_transfer/frames", "inputs": inputs, "mini_batch_size": 2})
    assert run.state is RunState.SUCCEEDED_WITH_ERRORS, run.reason
    assert run.summary is not None
    assert (run.summary.ok, run.summary.failed) == (4, 1)
    assert run.summary.failures[0].item == "torn.png"
    painted = {
        name for output in run.results or {} for name in user.results(run, output) if name.endswith(".png")
    }
    assert painted == {f"frame {number}.png" for number in range(4)}


def test_digits_give_one_row_per_image_and_a_side_input_names_the_classes(user: User, tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "scoring" / "digits" / "samples.py"),
            str(tmp_path / "images"),
            "--count",
            "30",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    images = sorted((tmp_path / "images").rglob("*.png"))
    for image in images:
        user.upload(f"digits/{image.name}", image.read_bytes())
    user.upload("digits/torn.png", b"no image")
    user.upload("labels.txt", "\n".join(GERMAN).encode())
    body = {"workload": "digits/classify", "inputs": {"images": "digits", "labels": "labels.txt"}}
    run = user.run(body)
    assert run.state is RunState.SUCCEEDED_WITH_ERRORS, run.reason
    [output] = run.results or {}
    rows = list(csv.DictReader(io.StringIO(user.results(run, output)["predictions.csv"].decode())))
    assert [row["File"] for row in rows] == sorted(image.name for image in images)
    assert {row["Prediction"] for row in rows} <= set(GERMAN)
    assert run.summary is not None
    assert [failure.item for failure in run.summary.failures] == ["torn.png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"no video at all", "not a video"), ("truncated", "clip")],
    ids=["empty", "not a video", "truncated"],
)
def test_a_video_that_cannot_be_read_fails_the_run_with_the_reason(
    user: User, clip: Path, content: bytes | str, said: str
) -> None:
    data = clip.read_bytes()[:20_000] if isinstance(content, str) else content
    user.upload("videos/bad-clip.mp4", data)
    run = user.run(video_body(video="videos/bad-clip.mp4"))
    assert run.state is RunState.FAILED
    assert "bad-clip.mp4" in run.reason
    assert said in run.reason
    assert "Traceback" not in run.reason
    assert "Errno" not in run.reason


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is empty"),
        (b"{", "not JSON"),
        (b'{"workload": "style_transfer/vidoe", "inputs": {}}', "Did you mean 'style_transfer/video'?"),
        (video_body(), "video"),
        (video_body(video="../secrets"), "leaves its folder"),
        (video_body(video="videos/none.mp4"), "no blob 'videos/none.mp4'"),
        (
            {
                "workload": "style_transfer/video",
                "inputs": {"video": "style/painting.jpg", "style": "no-such-style"},
            },
            "no model 'no-such-style'",
        ),
        (video_body(video="style/painting.jpg", style="starry-night"), "exactly one of the inputs"),
        (video_body(video="style/painting.jpg", strength=2), "strength"),
        (video_body(video="style/painting.jpg") | {"max_cost": -5}, "max_cost"),
    ],
)
def test_a_bad_trigger_file_becomes_a_rejected_run_that_says_why(
    user: User, body: bytes | dict[str, Any], said: str
) -> None:
    run = user.wait(user.drop(body, "bad.json"), patience_s=20)
    assert run.state is RunState.REJECTED
    assert said in run.reason


def test_a_video_without_a_style_is_refused_before_anything_starts(user: User, clip: Path) -> None:
    user.upload("videos/clip.mp4", clip.read_bytes())
    run = user.run({"workload": "style_transfer/video", "inputs": {"video": "videos/clip.mp4"}})
    assert run.state is RunState.REJECTED
    assert "exactly one of the inputs 'style' or 'style_image' is needed" in run.reason
    assert run.attempts == ()


def test_the_run_api_starts_lists_and_shows(user: User) -> None:
    body = json.dumps({"workload": "digits/classify", "inputs": {"images": "nothing-here"}}).encode()
    status, run = user.http("POST", "runs", body, **{"Idempotency-Key": "once"})
    assert (status, run["state"]) == (202, "accepted")
    assert user.http("POST", "runs", body, **{"Idempotency-Key": "once"})[0] == 200
    other = body.replace(b"nothing-here", b"elsewhere")
    assert user.http("POST", "runs", other, **{"Idempotency-Key": "once"})[0] == 409
    user.wait(run["id"])
    status, shown = user.http("GET", f"runs/{run['id'][:10]}")
    assert (status, shown["state"]) == (200, "rejected")
    assert "nothing below 'nothing-here/'" in shown["reason"]
    status, listed = user.http("GET", "runs?limit=5&state=rejected")
    assert status == 200
    assert run["id"] in [item["id"] for item in listed["runs"]]


@pytest.mark.parametrize(
    ("method", "route", "body", "status"),
    [
        ("POST", "runs", b"{", 400),
        ("POST", "runs", b"", 400),
        ("GET", "runs?limit=0", None, 400),
        ("GET", "runs?state=asleep", None, 400),
        ("GET", "runs/0123456789abcdef0123", None, 404),
        ("GET", "runs/..%2f..", None, 404),
        ("POST", "runs/0123456789abcdef0123/cancel", b"", 404),
        ("POST", "runs/0123456789abcdef0123/retry", b"", 404),
    ],
)
def test_the_run_api_refuses_with_a_reason(
    user: User, method: str, route: str, body: bytes | None, status: int
) -> None:
    answered, document = user.http(method, route, body)
    assert answered == status
    assert document["error"]


def test_a_poison_message_is_kept_in_a_run_and_replayed(user: User) -> None:
    name = "late.txt"  # the host does not follow this name, so that no event makes the run before the message does
    run_id = user.drop({"workload": "digits/classify", "inputs": {"images": "nothing-here"}}, name)
    container = user.application.settings.trigger_container
    blob = user.application.storage.container("data", container).get_blob_client(name)
    etag = blob.get_blob_properties().etag
    message = json.dumps({"Type": "BlobTrigger", "ContainerName": container, "BlobName": name, "ETag": etag})
    user.application.storage.queue("data", paths.POISON_QUEUE).send_message(message)
    run = user.wait(run_id)
    assert run.state is RunState.POISONED
    assert run.poison_message == message
    user.application.replay(run.id)
    assert user.wait(run.id, lambda run: run.state is RunState.REJECTED).reason
