"""Puts `scoring/` on the path, as its entry scripts do themselves."""

from __future__ import annotations

import sys
from pathlib import Path

SCORING = Path(__file__).resolve().parents[2] / "scoring"
if str(SCORING) not in sys.path:
    sys.path.insert(0, str(SCORING))
