"""Results on this machine stay in the folder that was asked for."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from batchscore.cli.fetching import is_safe


@pytest.mark.parametrize("path", ["video/clip.mp4", "list", "copies/a b/ü.txt", "copies/..a"])
def test_a_name_below_the_folder_is_safe(path: str) -> None:
    assert is_safe(PurePosixPath(path))


@pytest.mark.parametrize("path", ["../x", "copies/../../x", "/etc/passwd", "copies\\..\\x", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_not(path: str) -> None:
    assert not is_safe(PurePosixPath(path))
