"""Damage that was found in a video, as receipts tell of it: one line for frames in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from style_transfer.decoding import ShownFrame
from style_transfer.segments import Segment

_REMEDY = "A whole copy of the video would mend it"


@dataclass(frozen=True)
class Damage:
    """What is damaged, such as `clip.mp4, frames 31 to 34`, and the sentence that a person reads."""

    item: str
    error: str


class DamageReport:
    """Gathers the damage of one segment while its frames come by."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._number = segment.first_frame
        self._runs: list[
            tuple[int, int, int, int]
        ] = []  # first and last frame, and the ticks they are shown at

    def watch(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """The same frames; what is damaged among them is noted."""
        for shown in frames:
            self._number += 1
            if shown.damaged:
                self._note(shown.pts)
            yield shown

    @property
    def found(self) -> list[Damage]:
        """Frames that another one stands in for, counted from 1 over the whole video, and stretches that are lost."""
        return [
            *(self._frames(*run) for run in self._runs),
            *(self._lost(*lost) for lost in self._segment.lost),
        ]

    def _note(self, ticks: int) -> None:
        if self._runs and self._runs[-1][1] == self._number - 1:
            first, _, began, _ = self._runs.pop()
            self._runs.append((first, self._number, began, ticks))
        else:
            self._runs.append((self._number, self._number, ticks, ticks))

    def _frames(self, first: int, last: int, began: int, ended: int) -> Damage:
        video = self._segment.clip.video.name
        if first == last:
            what, which = f"frame {first}", f"frame {first} at {self._seconds(began)} is"
        else:
            what = f"frames {first} to {last}"
            which = f"{what} from {self._seconds(began)} to {self._seconds(ended)} are"
        return Damage(
            f"{video}, {what}",
            f"{video} is damaged: {which} shown as the last good frame; what follows may show traces up to the "
            f"next keyframe. {_REMEDY}",
        )

    def _lost(self, began: int, ended: int) -> Damage:
        video = self._segment.clip.video.name
        return Damage(
            f"{video}, {self._seconds(began)} to {self._seconds(ended)}",
            f"{video} is damaged: the frames from {self._seconds(began)} to {self._seconds(ended)} cannot be found "
            f"in it, and the frame before them stays on the screen. {_REMEDY}",
        )

    def _seconds(self, ticks: int) -> str:
        return f"{float(ticks * self._segment.clip.seconds_per_tick):.3f} s"
