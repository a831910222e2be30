"""How much `arctic submit` would send of a working folder."""

import subprocess
import sys
from pathlib import Path

from data_recipes import RecipeError
from data_recipes.files import needed_files
from infra.cluster.upload import Upload, UploadError, excludes, measure

UPLOAD_TIMEOUT_S = 20.0
FITS, LARGE = "FITS", "LARGE"
MEASURE = """
import sys
from pathlib import Path
from pipelines.submission import upload_verdict
print(*upload_verdict(Path(sys.argv[1])))
"""


def measured_upload(folder: Path, timeout_s: float = UPLOAD_TIMEOUT_S) -> tuple[str, bool | None]:
    """The size of a folder that `arctic submit` would send, in words, and whether the Ray head accepts it; None if it
    was not measured. In a separate process, since listing a huge tree can only be ended from outside."""
    command = [sys.executable, "-c", MEASURE, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"{folder}: not measured, listing its files took more than {timeout_s:g} s", None
    verdict, _, text = done.stdout.strip().partition(" ")
    if done.returncode or verdict not in (FITS, LARGE):
        return f"{folder}: not measured, {done.stderr.strip()[-300:]}", None
    return text, verdict == FITS


def upload_verdict(folder: Path) -> tuple[str, str]:
    """FITS or LARGE for a folder, and its size in words: with the data that one of its recipes names, of that recipe
    that names most."""
    upload, recipe = largest_upload(folder)
    counted = f"; with the data that {recipe} names" if recipe else ""
    try:
        upload.require_sendable()
    except UploadError as error:
        return LARGE, f"{error}{counted}"
    return FITS, f"{upload}{counted}"


def largest_upload(folder: Path) -> tuple[Upload, str]:
    """The most that `arctic submit` would send of a folder, and the recipe that names this data; "" if none does."""
    root = folder.resolve()
    plain = measure(root, excludes(root))
    uploads = {"": plain}
    for name in (name for name in plain.files if name.endswith(".toml")):
        try:
            needed = needed_files(root / name, [], root)
        except RecipeError:
            # A page of something else, such as pyproject.toml.
            continue
        if not plain.files.keys() >= set(needed):
            uploads[name] = measure(root, excludes(root, needed))
    recipe = max(uploads, key=lambda name: uploads[name].num_bytes)
    return uploads[recipe], recipe
