"""`split`, `stitch`, `start`: programs that run beside the control plane and get their options passed through."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from batchscore.cli.environment import workloads_folder
from batchscore.errors import RequestError, SettingsError

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


def start(
    ctx: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Handle what waits, and end when every run is over.")
    ] = False,
) -> None:
    """Start storage and the Functions host on this machine; Ctrl-C ends them."""
    from batchscore.devhost.__main__ import parser

    options = parser()
    options.prog = "batchscore start"
    options.add_argument(
        "--once", action="store_true", help="handle what waits, and end when every run is over"
    )
    given = options.parse_args(ctx.args)
    if once:
        from batchscore.cli.once import run_once

        if given.address_file:
            raise RequestError("--once and --address-file cannot both be given.")
        raise typer.Exit(run_once(ctx.args, given.app.absolute()))
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
