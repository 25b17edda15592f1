"""Any video that people have is painted: the pipeline on the local engine, its result read by ffprobe and ffmpeg."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from batchscore.compute.base import JobState, JobStatus, Overrides
from batchscore.compute.local.engine import Engine
from batchscore.definitions import load_pipeline
from tests.ffmpeg import Pixels, Probe, ffmpeg, ffmpeg_says, film
from tests.style_clips import SCORING, ClipRecipe, Steps, make_clip, make_style, overwrite, picture

PIPELINE = SCORING / "style_transfer" / "video.pipeline.yml"
FRAMES, RATE = 24, 12
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", 10, "-g", 6)


@dataclass(frozen=True)
class Painted:
    """What a run of the pipeline left."""

    status: JobStatus
    folder: Path
    video: Path

    @property
    def file(self) -> Path:
        return self.folder / "result" / f"{self.video.stem}.mp4"

    @property
    def probe(self) -> Probe:
        return Probe(self.file)

    @property
    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs" / "split").iterdir()))

    @property
    def notes(self) -> list[str]:
        path = self.folder / "result" / "notes.txt"
        return path.read_text().splitlines() if path.exists() else []

    def failed(self) -> dict[str, str]:
        """What the receipts call failed, with the reason."""
        receipts = [
            json.loads(line)
            for path in (self.folder / "receipts").iterdir()
            for line in path.read_text().splitlines()
        ]
        return {each["item"]: each["error"] for each in receipts if each["status"] == "failed"}


Run = Callable[..., Painted]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the whole pipeline with a style that leaves every pixel as it is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    style = make_style(tmp_path / "models" / "as it is", operator="Identity")

    def painted(video: Path, **inputs: float) -> Painted:
        folder = tmp_path / "run"
        names = ("segments", "audio", "stylized", "receipts", "result")
        given = {"strength": 1.0, "segment_seconds": 0.5, "device": "cpu"} | inputs
        engine = Engine(
            load_pipeline(PIPELINE),
            {"video": video, "style": style, **given},
            {name: folder / name for name in names},
            folder / "work",
            folder / "logs",
            Overrides(max_concurrency_per_instance=1),
        )
        return Painted(engine.run(), folder, video)

    return painted


def pictures(width: int = 64, height: int = 48, frames: int = FRAMES) -> Pixels:
    """Frame n is of a grey of its own, with a bright corner at the top left."""
    return np.stack([picture(number, width, height) for number in range(frames)])


def assert_same(result: Probe, source: Probe, *, levels: float = 3) -> None:
    """Frame by frame the same picture, within `levels` of 255 on average, at the same time."""
    assert result.frame_count == source.frame_count == len(source.moments)
    assert result.moments == source.moments
    assert_same_pictures(result.pictures(), source.pictures(), levels=levels)


def assert_same_pictures(ours: Pixels, theirs: Pixels, *, levels: float = 3) -> None:
    assert ours.shape == theirs.shape
    off = np.abs(ours.astype(int) - theirs).mean(axis=(1, 2, 3))
    assert off.max() < levels, f"frames {np.flatnonzero(off >= levels)} are off by {off.max():.1f}"


TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2")


@pytest.mark.parametrize(("width", "height"), [(65, 49), (65, 48), (64, 49)])
def test_odd_sizes_are_kept(width: int, height: int, tmp_path: Path, run: Run) -> None:
    video = film(tmp_path / "odd.mkv", pictures(width, height), "-pix_fmt", "yuv444p", *X264)
    result = run(video).probe
    assert result.size == (width, height)
    assert_same(result, Probe(video))


def test_a_variable_frame_rate_is_kept(tmp_path: Path, run: Run) -> None:
    """Every frame at its own time, from 1/90 s to more than a second after the one before."""
    moments = "settb=1/90000,setpts='N*7500+mod(N*N*7,31)*100+if(gt(N,9),90000,0)'"
    clock = ("-video_track_timescale", 90_000, "-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    video = film(tmp_path / "phone.mp4", pictures(), "-vf", moments, *clock, *X264, "-pix_fmt", "yuv420p")
    source = Probe(video)
    steps = {b - a for a, b in pairwise(source.moments)}
    assert len(steps) > 5
    assert max(steps) > 1
    assert_same(run(video).probe, source)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied_once(rotation: int, mirrored: bool, tmp_path: Path, run: Run) -> None:
    """As ffmpeg shows it, and without a rotation in the result that would turn it again."""
    video = make_clip(tmp_path / "phone.mp4", ClipRecipe(rotation=rotation, mirrored=mirrored, frames=7))
    source = Probe(video)
    assert bool(source.rotation) == bool(rotation or mirrored)
    result = run(video).probe
    assert result.rotation == []
    assert result.size == ((48, 64) if rotation % 180 else (64, 48))
    assert_same(result, source)


BARS = np.array(
    [
        *([191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0]),
        *([0, 0, 191], [255, 255, 255], [0, 0, 0], [128, 64, 200]),
    ],
    np.uint8,
)


def bars(probe: Probe) -> Pixels:
    """The colour in the middle of each bar of the first frame."""
    return probe.pictures()[0, 32, 16::32]


@pytest.mark.parametrize(
    ("matrix", "full", "depth"),
    [
        ("smpte170m", False, 8),
        ("smpte170m", True, 10),
        ("bt709", False, 8),
        ("bt709", True, 8),
        ("bt709", False, 10),
    ],
)
def test_colours_are_within_two_levels_and_tagged(
    matrix: str, full: bool, depth: int, tmp_path: Path, run: Run
) -> None:
    picture = np.repeat(BARS, 32, axis=0)[None, None].repeat(3, axis=0).repeat(64, axis=1)
    pixels = "yuv420p10le" if depth == 10 else "yuv420p"
    scale = f"scale=out_color_matrix={matrix}:out_range={'pc' if full else 'tv'}:sws_flags=accurate_rnd"
    tags = ("-colorspace", matrix, "-color_primaries", matrix, "-color_trc", matrix)
    video = film(
        tmp_path / "bars.mp4",
        picture,
        *("-vf", f"{scale},format={pixels}", *tags, "-color_range", "pc" if full else "tv", *X264),
    )
    source = Probe(video)
    assert source.video["pix_fmt"].replace("yuvj", "yuv") == pixels
    done = run(video)
    result = done.probe
    said = [result.video.get(f"color_{each}") for each in ("range", "space", "primaries", "transfer")]
    assert said == ["tv", matrix, matrix, matrix]
    assert result.video["pix_fmt"] == "yuv420p"
    assert np.abs(bars(result).astype(int) - BARS).max() <= 2
    assert np.abs(bars(result).astype(int) - bars(source)).max() <= 2
    assert done.notes == (["the 10 bits of each colour become 8"] if depth == 10 else [])


@pytest.mark.slow
def test_high_dynamic_range_becomes_bt709(tmp_path: Path, run: Run) -> None:
    """A grey of 203 cd/m², which BT.2408 calls white, comes out bright and not as the flat grey of the file."""
    white = np.full((6, 48, 64, 3), 148, np.uint8)  # 58 % of PQ
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084")
    scale = "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le"
    done = run(film(tmp_path / "hdr.mp4", white, "-vf", scale, *tags, *X264))
    result = done.probe
    assert [result.video[f"color_{each}"] for each in ("space", "primaries", "transfer")] == ["bt709"] * 3
    assert result.pictures().min() > 180
    assert done.notes == [
        "high dynamic range is converted to BT.709, the range of common screens",
        "the 10 bits of each colour become 8",
    ]


def test_interlaced_frames_are_made_progressive(tmp_path: Path, run: Run) -> None:
    """ffmpeg's own detector sees combs in the source and none in the result; as many frames at the same times."""
    moving = np.zeros((48, 96, 128, 3), np.uint8)
    for number, frame in enumerate(moving):
        frame[:, 2 * number : 2 * number + 20] = 255
    comb = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct", "-pix_fmt", "yuv420p")
    video = film(tmp_path / "dv.mp4", moving, *comb, *X264, "-x264-params", "tff=1")
    done = run(video)
    assert combs(video) > 20
    assert combs(done.file) == 0
    assert done.probe.moments == Probe(video).moments
    assert done.probe.video["field_order"] == "progressive"
    assert done.notes == ["interlaced frames are made progressive, one for one"]


def combs(video: Path) -> int:
    """How many frames ffmpeg's detector takes for interlaced."""
    said = ffmpeg_says("-i", video, "-vf", "idet", "-f", "null", "-")
    found = re.search(r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+)", said)
    assert found, said
    return int(found[1]) + int(found[2])


def picture_subtitles() -> bytes:
    """A Blu-ray subtitle stream that shows nothing at 0.5 s and 1.5 s."""
    show_nothing = struct.pack(">HHBHBBBB", 64, 48, 0x10, 1, 0x80, 0, 0, 0)
    return b"".join(
        b"PG" + struct.pack(">IIBH", round(90_000 * seconds), 0, kind, len(content)) + content
        for seconds in (0.5, 1.5)
        for kind, content in ((0x16, show_nothing), (0x80, b""))
    )


SUBTITLES = """1
00:00:00,250 --> 00:00:00,750
Grüße <i>aus</i> Köln

2
00:00:01,000 --> 00:00:01,500
Zwei
Zeilen
"""


def test_every_sound_track_subtitle_chapter_and_title_comes_along(tmp_path: Path, run: Run) -> None:
    """Sound bit by bit where MP4 holds it; what does not come along is named."""
    (tmp_path / "s.srt").write_text(SUBTITLES)
    (tmp_path / "s.sup").write_bytes(picture_subtitles())
    (tmp_path / "chapters.txt").write_text(
        ";FFMETADATA1\ntitle=Der Film\nartist=Jemand\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=Eins\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Zwei\n"
    )
    inputs = [*TONE, "-i", tmp_path / "s.srt", "-i", tmp_path / "s.sup", "-i", tmp_path / "chapters.txt"]
    maps = [part for each in ("0", "1", "1", "1", "2", "2", "3") for part in ("-map", each)]
    codecs = ["-c:a:0", "aac", "-c:a:1", "ac3", "-c:a:2", "libvorbis", "-c:s:0", "subrip", "-c:s:1", "ass"]
    codecs += ["-c:s:2", "copy", "-map_metadata", 4, "-pix_fmt", "yuv420p"]
    for number, language in enumerate(("ger", "eng", "fre")):
        codecs += [f"-metadata:s:a:{number}", f"language={language}"]
        codecs += [f"-metadata:s:s:{number}", f"language={language}"]
    codecs += ["-metadata:s:a:1", "title=Commentary", "-disposition:a:1", "comment"]
    video = film(tmp_path / "film.mkv", pictures(), *inputs, *maps, *X264, *codecs)
    source = Probe(video)
    done = run(video)
    result = done.probe
    assert_same(result, source)

    sound = result.streams("audio")
    assert [stream["codec_name"] for stream in sound] == ["aac", "ac3", "aac"]
    assert [stream["tags"]["language"] for stream in sound] == ["ger", "eng", "fre"]
    with av.open(str(done.file)) as container:  # ffprobe does not know the titles of an MP4 file's streams
        assert container.streams.audio[1].metadata["name"] == "Commentary"
    assert sound[1]["disposition"]["comment"] == 1
    for ours, theirs in zip(sound[:2], source.streams("audio")[:2], strict=True):
        assert result.packets(ours["index"]) == source.packets(theirs["index"])
    assert result.lengths()[sound[2]["index"]] == pytest.approx(2, abs=0.05)

    texts = result.streams("subtitle")
    assert [stream["codec_name"] for stream in texts] == ["mov_text", "mov_text"]
    assert [stream["tags"]["language"] for stream in texts] == ["ger", "eng"]
    for number in range(2):
        ours, theirs = (
            ffmpeg("-i", each, "-map", f"0:s:{number}", "-f", "srt", "-").decode()
            for each in (done.file, video)
        )
        assert "Grüße" in ours
        assert ours.split() == theirs.split()

    assert result.chapters == [("Eins", "0.000000", "1.000000"), ("Zwei", "1.000000", "2.000000")]
    assert (result.tags["title"], result.tags["artist"]) == ("Der Film", "Jemand")
    assert done.notes == [
        "the sound (vorbis, fre), stream 3 of the file, becomes AAC: an MP4 file does not hold it as it is",
        "the subtitles (subrip, ger), stream 4 of the file, become text of MP4 files (mov_text), "
        "without the places they had on screen",
        "the subtitles (ass, eng), stream 5 of the file, become text of MP4 files (mov_text), "
        "without the places they had on screen",
        "the subtitles (hdmv_pgs_subtitle, fre), stream 6 of the file, are left out: they are no text, "
        "and an MP4 file holds text",
    ]
    assert all(f"film.mkv: {note}" in done.log for note in done.notes)


@pytest.mark.parametrize(("sound_s", "late_s"), [(0.8, 0), (4.2, 0), (2, 0.5), (2, -0.5)])
def test_sound_is_as_long_and_as_late_as_it_was(
    sound_s: float, late_s: float, tmp_path: Path, run: Run
) -> None:
    """Shorter, longer, later and earlier than the picture."""
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={sound_s}")
    plain = film(tmp_path / "picture.mkv", pictures(), *X264, "-pix_fmt", "yuv420p")
    video = tmp_path / "clip.mp4"
    inputs = ("-itsoffset", max(0, -late_s), "-i", plain, "-itsoffset", max(0, late_s), *sound)
    ffmpeg(*inputs, "-c:v", "copy", "-c:a", "aac", video)
    source = Probe(video)
    result = run(video).probe
    assert_same(result, source)
    assert result.packets(1) == source.packets(1)
    assert result.first_moment("audio") == pytest.approx(source.first_moment("audio"), abs=0.001)
    assert result.lengths()[1] == pytest.approx(source.lengths()[1], abs=0.03)
    assert result.seconds == pytest.approx(source.seconds, abs=0.03)


H264 = (*X264, "-pix_fmt", "yuv420p")
LIKE_TV = ("-pix_fmt", "yuv420p", "-b:v", "2M")
CONTAINERS: dict[str, tuple[str, tuple[object, ...], str]] = {
    "MP4 with B-frames": ("mp4", (*H264, "-bf", 3, "-c:a", "aac"), "aac"),
    "MP4 with open groups of pictures": (
        "mp4",
        ("-c:v", "libx264", "-g", 8, "-bf", 3, "-x264-params", "open-gop=1", "-pix_fmt", "yuv420p"),
        "aac",
    ),
    "MP4 with intra refresh": ("mp4", (*H264, "-x264-params", "intra-refresh=1:keyint=8"), "aac"),
    "HEVC with open groups": (
        "mp4",
        ("-c:v", "libx265", "-g", 8, "-x265-params", "log-level=error:open-gop=1:bframes=3", "-c:a", "aac"),
        "aac",
    ),
    "MP4 with MP3": ("mp4", (*H264, "-c:a", "libmp3lame"), "mp3"),
    "MOV, ProRes and PCM": ("mov", ("-c:v", "prores_ks", "-c:a", "pcm_s24le"), "made"),
    "MOV, H.264 and ALAC": ("mov", (*H264, "-c:a", "alac"), "alac"),
    "MKV, H.264 and FLAC": ("mkv", (*H264, "-bf", 2, "-c:a", "flac"), "flac"),
    "MKV that begins late": ("mkv", (*H264, "-c:a", "aac", "-output_ts_offset", 5), "aac"),
    "WebM, VP9 and Opus": ("webm", ("-c:v", "libvpx-vp9", "-g", 6, *LIKE_TV, "-c:a", "libopus"), "opus"),
    "WebM, VP8 and Vorbis": ("webm", ("-c:v", "libvpx", "-g", 6, *LIKE_TV, "-c:a", "libvorbis"), "made"),
    "AVI, MPEG-4 with B-frames and MP3": (
        "avi",
        ("-c:v", "mpeg4", "-bf", 2, "-g", 6, *LIKE_TV, "-c:a", "libmp3lame"),
        "mp3",
    ),
    "AVI, H.264 with B-frames": ("avi", (*H264, "-bf", 2, "-c:a", "libmp3lame"), "mp3"),
    "AVI, Motion JPEG and PCM": ("avi", ("-c:v", "mjpeg", "-q:v", 2, "-c:a", "pcm_s16le"), "made"),
    "MPEG-TS, H.264 with B-frames and AC-3": ("ts", (*H264, "-bf", 2, "-c:a", "ac3"), "ac3"),
    "MPEG-TS, MPEG-2 and MP2": ("ts", ("-c:v", "mpeg2video", "-bf", 2, *LIKE_TV, "-c:a", "mp2"), "made"),
    "MPEG program stream": ("mpg", ("-c:v", "mpeg2video", "-bf", 2, *LIKE_TV, "-c:a", "mp2"), "made"),
    "FLV": ("flv", (*H264, "-c:a", "aac", "-ar", 44_100), "aac"),
    "WMV": ("wmv", ("-c:v", "wmv2", *LIKE_TV, "-c:a", "wmav2"), "made"),
    "Ogg, Theora and Vorbis": ("ogv", ("-c:v", "libtheora", "-q:v", 10, "-c:a", "libvorbis"), "made"),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_what_people_have_is_read(kind: str, tmp_path: Path, run: Run) -> None:
    """Every frame once at its time, beside its sound, which is the source's own packets where MP4 holds them."""
    suffix, arguments, sound = CONTAINERS[kind]
    rate = 24 if suffix in ("ts", "mpg") else RATE
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={FRAMES / rate}")
    video = film(tmp_path / f"clip.{suffix}", pictures(), *tone, *arguments, rate=rate)
    source = Probe(video)
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED, done.log
    assert done.failed() == {}
    result = done.probe
    moments = source.moments
    if suffix in ("avi", "mpg"):  # they do not tell when each frame is shown; ffprobe guesses
        first = result.moments[0] if suffix == "avi" else moments[0]
        moments = [first + Fraction(number, rate) for number in range(FRAMES)]
    shift = moments[0] - result.moments[0]
    assert abs(shift) == 0 or suffix in ("ts", "mpg")
    assert result.frame_count == len(moments) == FRAMES
    assert [moment + shift for moment in result.moments] == moments
    assert_same_pictures(result.pictures(), source.pictures(), levels=4)
    (voice,) = result.streams("audio")
    assert voice["codec_name"] == ("aac" if sound == "made" else sound)
    heard = result.first_moment("audio") + float(shift)
    # An encoder's first packet is a lead-in; a decoder may need a few packets before it gives sound.
    assert heard == pytest.approx(source.first_moment("audio"), abs=0.1 if sound == "made" else 0.03)
    if sound not in ("made", "aac") or suffix in ("mp4", "mkv"):
        assert result.packets(voice["index"]) == source.packets(source.streams("audio")[0]["index"])


def test_damage_in_the_middle_is_reported_and_the_rest_delivered(tmp_path: Path, run: Run) -> None:
    """Two compressed frames are overwritten: the frame before stands in, count and times are kept."""
    video = film(tmp_path / "clip.mp4", pictures(), *X264, "-g", 12)
    before = Probe(video).pictures()
    overwrite(video, [14, 15])
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    assert done.failed() == {
        "clip.mp4, frames 15 to 16": (
            "clip.mp4 is damaged: frames 15 to 16 from 1.167 s to 1.250 s are shown as the last good frame; "
            "what follows may show traces up to the next keyframe. A whole copy of the video would mend it"
        )
    }
    assert done.notes == list(done.failed().values())
    result = done.probe
    assert result.frame_count == FRAMES
    assert result.moments == [Fraction(number, RATE) for number in range(FRAMES)]
    stood_in = [13 if number in (14, 15) else number for number in range(FRAMES)]
    untouched = [number for number in range(FRAMES) if not 15 < number < 24]
    assert_same_pictures(result.pictures()[untouched], before[stood_in][untouched])


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_twenty_kilobytes_of_noise_in_the_middle_of_an_mp4_are_noticed(
    codec: str, tmp_path: Path, run: Run
) -> None:
    quality = ("-b:v", "4M") if codec == "mpeg4" else ("-preset", "ultrafast")
    video = film(tmp_path / "clip.mp4", noise(48), "-c:v", codec, *quality, "-g", 12, "-pix_fmt", "yuv420p")
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    assert len(content) > 80_000
    content[middle : middle + 20_000] = np.random.default_rng(8).bytes(20_000)
    video.write_bytes(content)
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    assert done.failed()
    assert all(item.startswith("clip.mp4, frame") for item in done.failed())
    assert done.probe.moments == [Fraction(number, RATE) for number in range(48)]


def test_a_damaged_transport_stream_is_delivered(tmp_path: Path, run: Run) -> None:
    """A packet of it lost, and its end cut off between two packets: both frames are named."""
    video = film(tmp_path / "dvb.ts", noise(FRAMES), *X264, "-g", 6, "-pix_fmt", "yuv420p", rate=24)
    content = video.read_bytes()
    packets = [content[start : start + 188] for start in range(0, len(content), 188)]
    middle = len(packets) // 2
    video.write_bytes(b"".join(packets[:middle] + packets[middle + 1 : -40]))
    source = Probe(video)
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    assert len(done.failed()) == 2
    assert f"dvb.ts, frame {source.frame_count}" in done.failed()
    assert done.probe.frame_count == source.frame_count


def test_what_a_damaged_matroska_file_holds_no_more_is_named(tmp_path: Path, run: Run) -> None:
    video = film(tmp_path / "clip.mkv", noise(60), *X264, "-pix_fmt", "yuv420p", "-cluster_time_limit", 500)
    whole = Probe(video).moments
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    video.write_bytes(content)
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    kept = done.probe.moments
    lost = [moment for moment in whole if moment not in kept]
    assert lost
    (sentence,) = [error for item, error in done.failed().items() if "cannot be found" in error]
    stretch = re.search(r"frames from ([\d.]+) s to ([\d.]+) s cannot be found in it", sentence)
    assert stretch
    assert float(stretch[1]) <= lost[0] + 0.001
    assert lost[-1] < float(stretch[2])


def noise(frames: int) -> Pixels:
    """Pictures that take many bytes."""
    return np.random.default_rng(7).integers(0, 256, (frames, 90, 160, 3), np.uint8)


def still(path: Path, kind: str) -> Path:
    Image.new("RGB", (64, 48), "orange").save(path, kind)
    return path


def playlist(path: Path) -> Path:
    film(path.with_name("secret.ts"), pictures(), *X264, "-pix_fmt", "yuv420p")
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n")
    return path


def encrypted(path: Path) -> Path:
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "7" * 32, "-encryption_kid", "a" * 32)
    return film(path, pictures(), *X264, "-pix_fmt", "yuv420p", *key)


def unknown_codec(path: Path) -> Path:
    film(path, pictures(), "-c:v", "mpeg4", "-f", "avi", "-vtag", "FMP4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def sound_alone(path: Path) -> Path:
    ffmpeg(*TONE, "-c:a", "aac", path)
    return path


def bomb(path: Path) -> Path:
    """Kilobytes that stand for frames of 432 MB each."""
    size = "12000x9000"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        f"color=black:s={size}:r=5:d=0.4",
        "-c:v",
        "png",
        "-pix_fmt",
        "rgb24",
        "-f",
        "mov",
        path,
    )
    return path


def half(path: Path) -> Path:
    film(path, noise(FRAMES), *X264, "-pix_fmt", "yuv420p", "-movflags", "faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, r"clip\.mp4 is empty: it has 0 bytes; upload it again"),
        (half, r"clip\.mp4 is truncated: .*; upload it again"),
        (sound_alone, r"clip\.mp4 has no video stream, only audio"),
        (encrypted, r"clip\.mp4 is encrypted: decrypt it first"),
        (unknown_codec, r"clip\.mp4: the codec of its video is unknown here.*may save it as MP4"),
        (bomb, r"clip\.mp4 is 12000x9000; at most 50 million pixels.*`ffmpeg -i in -vf scale"),
        (playlist, r"clip\.mp4 cannot be read as a video .*readable are MP4, MOV.*ffmpeg -i in out\.mp4"),
        (partial(still, kind="PNG"), r"clip\.mp4 is a still picture \(PNG\).*style_transfer/frames"),
        (partial(still, kind="JPEG"), r"clip\.mp4 is a still picture \(JPEG\).*style_transfer/frames"),
        (partial(still, kind="GIF"), r"clip\.mp4 is a still picture \(GIF\).*style_transfer/frames"),
        (partial(still, kind="AVIF"), r"clip\.mp4 is a still picture \(AVIF\).*style_transfer/frames"),
    ],
    ids=[
        "empty",
        "half",
        "sound",
        "encrypted",
        "unknown codec",
        "bomb",
        "playlist",
        "PNG",
        "JPEG",
        "GIF",
        "AVIF",
    ],
)
def test_what_cannot_be_painted_is_refused_with_a_remedy(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    """The split step as a process: one sentence, exit status 1, no segments."""
    video = make(tmp_path / "clip.mp4")
    steps = Steps(tmp_path / "run", video, ("--style", str(make_style(tmp_path / "as it is", "Identity"))))
    done = steps.split()
    assert done.returncode == 1
    assert re.fullmatch(f"error: {message}.*\n", done.stderr), done.stderr
    assert not steps.segments.exists() or steps.items() == []
