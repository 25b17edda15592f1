"""The training itself: step by step, with a checkpoint now and then from which it goes on as if never stopped."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.style_network import StyleNetwork
from style_transfer.training.checkpoint import Checkpoint
from style_transfer.training.network import TrainableStyle
from style_transfer.training.perception import (
    CONTENT_LAYER,
    Perception,
    StyleLoss,
    content_loss,
    variation,
)
from style_transfer.training.photographs import Pair, Photographs
from style_transfer.training.recipe import BORDER, Recipe

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Losses:
    """The losses of a step, before their weights."""

    step: int
    style: float
    content: float
    temporal: float
    seconds: float
    """CPU seconds of this process since the training began or went on."""


class Training:
    """A style in training. `name` says what is trained from what; only a checkpoint of that name is taken up."""

    def __init__(
        self,
        name: str,
        start: StyleNetwork,
        painting: npt.NDArray[np.float32],
        photographs: Photographs,
        recipe: Recipe,
        device: str = "cpu",
    ) -> None:
        """`painting` is RGB [H, W, 3] from 0 to 1."""
        self._name = name
        self._photographs = photographs
        self._recipe = recipe
        self._device = torch.device(device)
        self._net = TrainableStyle(start).to(self._device)
        self._average = copy.deepcopy(self._net)
        self._perception = Perception().to(self._device)
        picture = torch.from_numpy(painting).permute(2, 0, 1)[None].to(self._device)
        self._style_loss = StyleLoss(self._perception, picture)
        self._groups = [
            {"params": self._net.norm_parameters(), "base": recipe.norm_rate},
            {"params": self._net.kernel_parameters(), "base": recipe.kernel_rate},
        ]
        self._optimiser = torch.optim.Adam(self._groups, lr=recipe.norm_rate)
        self.step = 0

    def resume(self, path: Path) -> bool:
        """Go on from a checkpoint, if there is one of this training."""
        found = Checkpoint.read(path, self._name)
        if found is None or not 0 < found.step <= self._recipe.steps:
            return False
        self._restore(found)
        return True

    def run(self, checkpoint: Path, every: int, tell: Callable[[Losses], None]) -> None:
        """Do the steps that are left. A checkpoint is written every so many steps and after the last one."""
        began = time.process_time()
        for step in range(self.step + 1, self._recipe.steps + 1):
            style, content, temporal = self._take(step)
            self.step = step
            tell(Losses(step, style, content, temporal, time.process_time() - began))
            if step % every == 0 or step == self._recipe.steps:
                self._snapshot().write(checkpoint)

    def _take(self, step: int) -> tuple[float, float, float]:
        recipe = self._recipe
        for group in self._optimiser.param_groups:
            group["lr"] = group["base"] * recipe.rate_factor(step)
        pair = self._photographs.pair(recipe, step)
        plain, shaken = pair.plain.to(self._device), pair.shaken.to(self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            both = self._net(torch.cat([plain, shaken]))
        painted, painted_shaken = both.float().split(len(plain))
        temporal = _moved_loss(painted, painted_shaken, pair)
        features = self._perception(painted)
        with torch.no_grad():
            wanted = self._perception(plain, upto=CONTENT_LAYER)[CONTENT_LAYER]
        style = self._style_loss(features)
        content = content_loss(features[CONTENT_LAYER], wanted)
        total = (
            recipe.style_weight * style
            + recipe.content_weight * content
            + recipe.variation_weight * variation(painted)
            + recipe.temporal_weight * temporal
        )
        self._optimiser.zero_grad()
        total.backward()
        self._optimiser.step()
        with torch.no_grad():
            for averaged, current in zip(self._average.parameters(), self._net.parameters(), strict=True):
                averaged.lerp_(current, 1 - recipe.averaging(step))
        return style.item(), content.item(), temporal.item()

    def _snapshot(self) -> Checkpoint:
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for role, module in (("net", self._net), ("average", self._average)):
            for name, parameter in module.named_parameters():
                arrays[f"{role}/{name}"] = parameter.detach().cpu().numpy()
        for name, parameter in self._net.named_parameters():
            for moment in _MOMENTS:
                arrays[f"{moment}/{name}"] = self._optimiser.state[parameter][moment].cpu().numpy()
        return Checkpoint(self._name, self.step, arrays)

    def _restore(self, found: Checkpoint) -> None:
        arrays = found.arrays
        self._net.load(arrays, "net")
        self._average.load(arrays, "average")
        for name, parameter in self._net.named_parameters():
            self._optimiser.state[parameter] = {
                "step": torch.tensor(float(found.step)),
                **{
                    moment: torch.from_numpy(arrays[f"{moment}/{name}"]).to(self._device)
                    for moment in _MOMENTS
                },
            }
        self.step = found.step


def _moved_loss(painted: torch.Tensor, painted_shaken: torch.Tensor, pair: Pair) -> torch.Tensor:
    """How differently the same places of a pair are painted."""
    side = painted.shape[-1]
    down, right = pair.down, pair.right
    here = painted[:, :, down + BORDER : side - BORDER, right + BORDER : side - BORDER]
    there = painted_shaken[:, :, BORDER : side - down - BORDER, BORDER : side - right - BORDER]
    return functional.mse_loss(here, there)
