"""From trained weights to a style folder: the graph, checked against PyTorch, its flicker and its card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from common.output_files import sha256_of, write_whole
from models.flicker import arbitrary_painter, measure, painter
from models.style_network import StyleNetwork, write_graph
from style_transfer.errors import TrainingError
from style_transfer.training.card import Measured, write_card
from style_transfer.training.checkpoint import Checkpoint
from style_transfer.training.network import TrainableStyle
from style_transfer.training.photographs import Photographs
from style_transfer.training.session import CHECKPOINT, LOG, Facts, start_of

MODEL = "model.onnx"
MOST_DIFFERENCE = 1
"""Levels of 255 by which ONNX Runtime may differ from PyTorch."""
MEASURED_ON = 3
"""Photographs that the flicker is measured on."""


def finish_style(name: str, painting: Path, photos: Path, training: Path, style: Path) -> Measured:
    """Write `style/model.onnx`, its card and its losses from a finished training."""
    facts = Facts.read(training)
    if facts.made_from["painting"] != sha256_of(painting):
        raise TrainingError(f"the training in {training.name} is of another painting than {painting.name}")
    net = TrainableStyle(start_of(painting))
    checkpoint = Checkpoint.read(training / CHECKPOINT, facts.training)
    if checkpoint is None or checkpoint.step != facts.recipe.steps:
        raise TrainingError(f"the checkpoint in {training.name} is missing, torn, or of another training")
    net.load(checkpoint.arrays, "average")
    network = net.network()

    about = {"style": name, "painting_sha256": facts.made_from["painting"]}
    about |= {key: str(value) for key, value in asdict(facts.recipe).items()}
    write_whole(style / MODEL, write_graph(network, about).SerializeToString(deterministic=True))
    verify(style / MODEL, network)
    pictures = Photographs(photos).some(MEASURED_ON)
    measured = Measured(
        measure(painter(style / MODEL), pictures), measure(arbitrary_painter(painting), pictures)
    )
    write_whole(style / LOG, (training / LOG).read_bytes())
    write_card(style, name, painting, facts, measured)
    return measured


def verify(model: Path, network: StyleNetwork) -> None:
    """TrainingError unless ONNX Runtime paints with the file what PyTorch paints with the weights, to one level."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    net = TrainableStyle(network).eval()
    for height, width in ((90, 160), (131, 93)):
        frames = np.random.default_rng(0).integers(0, 256, (2, height // 8 + 1, width // 8 + 1, 3), np.uint8)
        frames = np.ascontiguousarray(frames.repeat(8, 1).repeat(8, 2)[:, :height, :width])
        (found,) = session.run(["stylized"], {"frames": frames})
        with torch.inference_mode():
            x = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32) / 255
            levels = (net(x)[:, :, :height, :width] * 255).round().permute(0, 2, 3, 1).numpy()
        difference = float(np.abs(found - levels).max())
        if not difference <= MOST_DIFFERENCE:
            raise TrainingError(
                f"{model.name} at {width}×{height} differs from PyTorch by {difference:.0f}/255, more than "
                f"{MOST_DIFFERENCE}/255: the training has gone astray, or the export is at fault"
            )
