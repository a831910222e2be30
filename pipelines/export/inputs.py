"""The inputs of an export."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.inputs import Inputs, Node


@dataclass(frozen=True)
class CorpusHistory(Inputs[Node]):
    """The stages that a model card counts the documents of a corpus in."""

    source: Node
    filter: Node
    dedup: Node
    tokens: Node


@dataclass(frozen=True)
class ExportInputs(Inputs[Node]):
    """The checkpoint, its tokenizer and its scores; the orders of phases and fine-tunes up to it, by number; by corpus,
    its history; of a fine-tune, the scores of the phase that it goes back to."""

    train: Node
    tokenizer: Node
    evaluate: Node
    mix: Mapping[str, Node]
    corpora: Mapping[str, CorpusHistory[Node]]
    base: Node | None = None
