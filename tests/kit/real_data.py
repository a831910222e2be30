"""Real pages, evaluation sets and collected cases, which are not part of this repository.

They lie below the folder that ARCTIC_TEST_DATA names, by default beside the checkout. Tests that need them are skipped
if they are missing.
"""

import os
from pathlib import Path

_FOLDER = Path(os.environ.get("ARCTIC_TEST_DATA", Path(__file__).parents[3] / "shared"))
REAL_DATA = _FOLDER / "data"
REAL_CASES = _FOLDER / "cases"
