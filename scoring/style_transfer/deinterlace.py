"""Interlaced frames made progressive, one for one: an interlaced picture is two half pictures, combed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

if TYPE_CHECKING:
    from style_transfer.decoding import ShownFrame

_FILTER = ("bwdif", "mode=send_frame:deint=interlaced")


def deinterlaced(frames: Iterable[ShownFrame], stream: VideoStream) -> Iterator[ShownFrame]:
    """The same frames without combs, at the same times; frames that are not marked interlaced stay as they are.

    The filter looks at the frames before and after, so that it is one frame late.
    """
    graph = Graph()
    source = graph.add_buffer(template=stream)
    worker, sink = graph.add(*_FILTER), graph.add("buffersink")
    source.link_to(worker)
    worker.link_to(sink)
    graph.configure()
    waiting: deque[ShownFrame] = deque()
    for shown in frames:
        waiting.append(shown)
        graph.push(shown.frame)
        yield from _finished(graph, waiting)
    graph.push(None)
    yield from _finished(graph, waiting)
    yield from waiting


def _finished(graph: Graph, waiting: deque[ShownFrame]) -> Iterator[ShownFrame]:
    while waiting:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield replace(waiting.popleft(), frame=cast("VideoFrame", frame))
