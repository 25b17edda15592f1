"""Which dropped file starts a run, and with which request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchscore.errors import RequestError, SettingsError
from batchscore.inbox import Ignored, body_of, read_rules, request_of, shipped_rules
from tests.unit.workload_folder import write_workloads

SCORING = Path(__file__).parents[2] / "scoring"
SHIPPED = shipped_rules(SCORING)
GOOD: dict[str, Any] = {
    "inbox/{kind}/x/": {
        "start": ["*.bin"],
        "trigger": {
            "workload": "demo/copy",
            "inputs": {"files": "{folder}", "mode": "{kind}", "strength": 0.5, "table": "a-{stem}.csv"},
            "nodes": 2,
        },
    }
}


@pytest.fixture
def workloads(tmp_path: Path) -> Path:
    return write_workloads(tmp_path)


def asked(name: str) -> Any:
    wanted = request_of(name, SHIPPED)
    return wanted if isinstance(wanted, Ignored) else json.loads(wanted[1])


def test_a_video_in_a_folder_named_after_a_style_is_painted_in_it() -> None:
    assert asked("inbox/style_transfer/video/starry-night/clip.mp4") == {
        "workload": "style_transfer/video",
        "inputs": {"video": "inbox/style_transfer/video/starry-night/clip.mp4", "style": "starry-night"},
    }
    deeper = asked("inbox/style_transfer/video/starry-night:2/My Holiday/Clip 1.MOV")
    assert deeper["inputs"]["style"] == "starry-night:2"
    assert deeper["inputs"]["video"].endswith("/My Holiday/Clip 1.MOV")


def test_a_ready_mark_beside_a_folder_of_frames_starts_its_run_and_the_frames_do_not() -> None:
    assert isinstance(asked("inbox/style_transfer/frames/roses/holiday/001.jpg"), Ignored)
    assert asked("inbox/style_transfer/frames/roses/holiday.ready") == {
        "workload": "style_transfer/frames",
        "inputs": {"frames": "inbox/style_transfer/frames/roses/holiday", "style": "roses"},
    }
    assert body_of("inbox/style_transfer/frames/roses/holiday.ready", SHIPPED, empty=True)


@pytest.mark.parametrize("file", ["clip.srt", "Thumbs.db", ".DS_Store", "deep/.hidden.mp4x", "clip.mp4.part"])
def test_what_lies_beside_a_video_is_left_out_with_a_reason(file: str) -> None:
    wanted = asked(f"inbox/style_transfer/video/starry-night/{file}")
    assert isinstance(wanted, Ignored)
    assert "leaves out" in wanted.reason


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("inbox/style_transfer/video/starry-night/clip.docx", "takes: *.mp4, *.mov"),
        ("inbox/style_transfer/video/clip.mp4", "The places are: 'inbox/style_transfer/video/{style}/'"),
        ("inbox/style_transfer/vidoe/starry-night/clip.mp4", "no place that starts a run"),
        ("inbox/style_transfer/video//clip.mp4", "no place that starts a run"),
    ],
)
def test_what_no_rule_takes_is_refused_with_what_one_would_take(name: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        request_of(name, SHIPPED)
    assert said in str(caught.value)


def test_an_empty_video_is_refused() -> None:
    with pytest.raises(RequestError, match="is empty"):
        body_of("inbox/style_transfer/video/starry-night/clip.mp4", SHIPPED, empty=True)


def test_a_rule_of_ones_own_fills_texts_and_leaves_other_values(workloads: Path) -> None:
    [rule] = read_rules(json.dumps(GOOD), workloads)
    wanted = request_of("inbox/good/x/a{path}b/c.d.bin", (rule,))
    assert not isinstance(wanted, Ignored)
    assert json.loads(wanted[1]) == {
        "workload": "demo/copy",
        "inputs": {
            "files": "inbox/good/x",
            "mode": "good",
            "strength": 0.5,
            "table": "a-a{path}b/c.d.csv",
        },
        "nodes": 2,
    }


def test_no_rules_are_no_inbox(workloads: Path) -> None:
    assert read_rules("{}", workloads) == ()
    assert shipped_rules(workloads) == ()


def changed(prefix: str = "inbox/{kind}/x/", **values: Any) -> str:
    rule = {**GOOD["inbox/{kind}/x/"], **values}
    return json.dumps({prefix: {key: value for key, value in rule.items() if value is not None}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not JSON"),
        ('{"a": 1, "a": 2}', "appears twice"),
        ("[1]", "must be a JSON object"),
        (changed("videos/"), "begins with 'inbox/'"),
        (changed("inbox/{kind}"), "ends with '/'"),
        (changed("inbox/../"), "no '.' and no '..'"),
        (changed("inbox//"), "no empty parts"),
        (changed("inbox/{path}/"), "none of path"),
        (changed("inbox/{Kind}/"), "small letters"),
        (changed("inbox/{kind}/{kind}/"), "given once"),
        (changed("inbox/{kind/"), "a brace stands alone"),
        (changed(start=None), "start, trigger"),
        (changed(stop=["*"]), "and nothing else"),
        (changed(start=[]), "start must be a list of patterns"),
        (changed(ignore="*.txt"), "ignore must be a list of patterns"),
        (changed(trigger={"inputs": {}}), "with a workload that is there"),
        (changed(trigger={"workload": "demo/none"}), "with a workload that is there"),
        (
            changed(trigger={"workload": "demo/copy", "inputs": {"files": "{style}"}}),
            "There are: {kind}, {path}",
        ),
    ],
)
def test_a_wrong_rule_is_named_with_what_would_be_right(text: str, said: str, workloads: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_rules(text, workloads)
    assert "INBOX_RULES" in str(caught.value)
    assert said in str(caught.value)
