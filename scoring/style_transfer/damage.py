"""Damage that was found while a video was decoded, as receipts tell of it: one line for frames in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from style_transfer.decoding import ShownFrame
from style_transfer.segments import Segment


@dataclass(frozen=True)
class Damage:
    """Frames in a row that another one stands in for. Frames are counted from 1 over the whole video."""

    video: str
    first: int
    last: int
    start_s: float
    end_s: float

    @property
    def item(self) -> str:
        """What the receipt is about, such as `clip.mp4, frames 31 to 34`."""
        frames = f"frame {self.first}" if self.first == self.last else f"frames {self.first} to {self.last}"
        return f"{self.video}, {frames}"

    @property
    def error(self) -> str:
        """The sentence that a person reads."""
        if self.first == self.last:
            which = f"frame {self.first} at {self.start_s:.3f} s is"
        else:
            which = f"frames {self.first} to {self.last} from {self.start_s:.3f} s to {self.end_s:.3f} s are"
        return (
            f"{self.video} is damaged: {which} shown as the last good frame; what follows may show traces up to "
            "the next keyframe. A whole copy of the video would mend it"
        )


@dataclass
class DamageReport:
    """Gathers the damage of one segment while its frames come by."""

    segment: Segment
    found: list[Damage] = field(default_factory=list)
    _number: int = 0

    def watch(self, frames: Iterable[ShownFrame]) -> Iterator[ShownFrame]:
        """The same frames; what is damaged among them is noted."""
        for shown in frames:
            self._see(shown)
            yield shown

    def _see(self, shown: ShownFrame) -> None:
        self._number += 1
        if not shown.damaged:
            return
        number = self.segment.first_frame + self._number
        seconds = float(shown.pts * self.segment.clip.seconds_per_tick)
        if self.found and self.found[-1].last == number - 1:
            self.found[-1] = replace(self.found[-1], last=number, end_s=seconds)
        else:
            self.found.append(Damage(self.segment.clip.video.name, number, number, seconds, seconds))
