"""`split`, `stitch`, `start`: programs that run beside the control plane and get their options passed through."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from batchscore.cli.environment import workloads_folder
from batchscore.errors import SettingsError

PASS_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True}


def split(
    ctx: typer.Context,
    video: Annotated[str, typer.Argument(help="The video.")],
    folder: Annotated[str, typer.Argument(help="Where its frames go, as pictures.")],
) -> None:
    """Turn a video into a folder of frames, for style_transfer/frames."""
    raise typer.Exit(_frames(["split", video, folder, *ctx.args]))


def stitch(
    ctx: typer.Context,
    folder: Annotated[str, typer.Argument(help="The frames, as pictures.")],
    video: Annotated[str, typer.Argument(help="The video to make.")],
) -> None:
    """Turn a folder of frames into a video."""
    raise typer.Exit(_frames(["stitch", folder, video, *ctx.args]))


def start(ctx: typer.Context) -> None:
    """Start storage and the Functions host on this machine; Ctrl-C ends them."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "batchscore.devhost", *ctx.args])  # noqa: S606


def _frames(arguments: list[str]) -> int:
    """Run the workload's own script; the control plane imports none of its code."""
    script = workloads_folder() / "style_transfer" / "frames_cli.py"
    if not script.is_file():
        raise SettingsError(f"{script} is not there. Set WORKLOADS_FOLDER to the folder of workloads.")
    process = subprocess.Popen([sys.executable, str(script), *arguments])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it went to the script too, which ends in its own way
            continue
