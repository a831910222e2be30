"""lm-evaluation-harness itself, imported when a task is asked for; nothing here asks the network."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from infra.host.packages import broken, require

PACKAGE, USER = "lm_eval", "a task of lm-evaluation-harness"
FEWSHOT_SEED = 1234
"""The harness' own default."""
MAX_NEW_TOKENS = 256
"""The harness' default for generations that name no length."""
MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError, SyntaxError)
"""Errors caused by a file that the user supplied without a pin."""


@dataclass(frozen=True)
class Harness:
    """The used parts of the harness: the folder of its pages, the reader of a page, the class of a task, and the
    conversion of rows to a dataset."""

    pages: Path
    load_page: Callable[[Path], Mapping[str, Any]]
    task: Callable[..., Any]
    dataset: Callable[[Sequence[Mapping[str, Any]]], Any]


class Filtered:
    """The input and output of the harness' filters."""

    def __init__(self, text: str, doc: Mapping[str, Any]) -> None:
        self.resps = [text]
        self.doc = doc
        self.filtered_resps: dict[str, Any] = {}


def harness_imported() -> Harness:
    """The harness. Raises PackageError if it is not installed as it is pinned."""
    require([PACKAGE], USER)
    # Set before its first import: nothing here may ask the network.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    try:
        import lm_eval
        from lm_eval import utils
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks._yaml_loader import load_yaml
    except ImportError as error:
        raise broken(PACKAGE, USER, error) from error
    # Only after the harness: imported first, it meets itself half imported.
    import datasets

    # The harness compiles a template again for every question and every shot, which takes most of the time.
    if not hasattr(utils.env.from_string, "cache_info"):
        utils.env.from_string = cache(utils.env.from_string)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    return Harness(Path(lm_eval.__file__).parent / "tasks", load_yaml, ConfigurableTask, datasets.Dataset.from_list)
