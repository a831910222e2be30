"""Notes on the flaws of a task's questions and answers, so that nothing lowers a score silently."""

from collections.abc import Sequence
from typing import NamedTuple

from arctic_model.inference.text_stream import UNFINISHED
from pipelines.evaluate.engine.requests import Answer, Generation, Likelihood, Request, Text
from pipelines.evaluate.task import Item


class Flaws(NamedTuple):
    """Of `num_items` items, how many have a context that lost its beginning, how many an answer that is no text, how
    many a continuation that was encoded without its context, how many one without an id, which are left out, and how
    many an answer that the model's positions ended before the limit of its task."""

    num_items: int
    num_truncated: int
    num_undecodable: int
    num_encoded_alone: int = 0
    num_left_out: int = 0
    num_shortened: int = 0


def flaws_of(items: Sequence[Item], answers: Sequence[Sequence[Answer]]) -> Flaws:
    """Flaws in `answers`, those of every item in order."""
    pairs = list(zip(items, answers, strict=True))
    truncated = sum(any(answer.num_truncated for answer in answers_of_item) for _, answers_of_item in pairs)
    undecodable = sum(any(map(is_undecodable, item.requests, answers_of_item)) for item, answers_of_item in pairs)
    alone = sum(any(is_encoded(answer, "alone") for answer in answers_of_item) for _, answers_of_item in pairs)
    left_out = sum(not is_complete(answers_of_item) for _, answers_of_item in pairs)
    shortened = sum(any(map(is_shortened, item.requests, answers_of_item)) for item, answers_of_item in pairs)
    return Flaws(len(items), truncated, undecodable, alone, left_out, shortened)


def is_complete(answers: Sequence[Answer]) -> bool:
    """Whether an item has all of its numbers: no continuation was without an id."""
    return not any(is_encoded(answer, "not") for answer in answers)


def is_encoded(answer: Answer, how: str) -> bool:
    """Whether `answer` is the likelihood of a continuation that was encoded in this way."""
    return isinstance(answer, Likelihood) and answer.encoded == how


def is_shortened(request: Request, answer: Answer) -> bool:
    """Whether the model lacked positions for all tokens that its task allows, and used those that it had."""
    if not isinstance(request, Generation) or not isinstance(answer, Text) or answer.num_tokens is None:
        return False
    return answer.finish == "length" and answer.num_tokens < request.max_new_tokens


def is_undecodable(request: Request, answer: Answer) -> bool:
    """Whether a generated text has bytes that are no UTF-8, which are read as U+FFFD, or only ids without a text.

    A character that is cut by the limit of the answer does not count, and neither does U+FFFD if the prompt has it.
    """
    if not isinstance(request, Generation) or not isinstance(answer, Text):
        return False
    if answer.finish != "length":
        return UNFINISHED in answer.text and UNFINISHED not in request.prompt
    return not answer.text or (UNFINISHED in answer.text[:-1] and UNFINISHED not in request.prompt)


def note(flaws: Flaws) -> str:
    """In words, with the remedy; "" if there is no flaw."""
    remarks = []
    if flaws.num_truncated:
        remarks.append(
            f"{flaws.num_truncated:,} of {flaws.num_items:,} questions lost their beginning: only a model with more "
            "positions reads them whole."
        )
    if flaws.num_shortened:
        remarks.append(
            f"{flaws.num_shortened:,} of {flaws.num_items:,} answers ended for want of positions, before the limit of "
            "the protocol: a model with more positions may answer longer."
        )
    if flaws.num_undecodable:
        remarks.append(
            f"{flaws.num_undecodable:,} of {flaws.num_items:,} answers hold what is no text, judged as U+FFFD or as "
            "nothing: see tables/samples.parquet. The model is hardly trained, or the tokenizer is another's."
        )
    if flaws.num_encoded_alone:
        remarks.append(
            f"{flaws.num_encoded_alone:,} of {flaws.num_items:,} questions have a continuation that the tokenizer "
            "joins with the end of the context to one token: it was encoded alone."
        )
    if flaws.num_left_out:
        remarks.append(
            f"{flaws.num_left_out:,} of {flaws.num_items:,} questions are left out: the tokenizer gives a continuation "
            "no token."
        )
    return " ".join(remarks)
