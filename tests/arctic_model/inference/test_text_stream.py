"""A stream of ids and its text: stops at the id that completes them, and nothing is released that may change."""

import tracemalloc
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from arctic_model.inference.text_stream import TextStream, first_stop

TEXTS = st.text(st.sampled_from("ab é€😀\n"), min_size=1, max_size=12)
STOPS = st.lists(st.text(st.sampled_from("ab é€"), min_size=1, max_size=3), max_size=3)


def decode(ids: Sequence[int]) -> str:
    """Ids are bytes, so characters come in pieces."""
    return bytes(ids).decode("utf-8", errors="replace")


@given(TEXTS, STOPS)
def test_stop_is_found_with_the_id_that_completes_it(text: str, stops: list[str]) -> None:
    stream = TextStream(decode, stops)
    data = text.encode()
    result = [stream.push(byte) for byte in data]
    expected = [first_stop(decode(data[:count]), stops) is not None for count in range(1, len(data) + 1)]
    assert [*result, True].index(True) == [*expected, True].index(True)


@given(TEXTS, STOPS)
def test_pieces_of_a_stream_are_the_text_and_none_is_taken_back(text: str, stops: list[str]) -> None:
    stream, pieces = TextStream(decode, stops), []
    for byte in text.encode():
        is_stopped = stream.push(byte)
        pieces.append(stream.take())
        if is_stopped:
            break
    pieces.append(stream.take_rest())
    assert "".join(pieces) == text[: first_stop(text, stops)] == stream.text()


def test_text_is_released_as_soon_as_no_stop_can_begin_in_it() -> None:
    stream = TextStream(decode, ["END"])
    released = []
    for byte in b"an ENDING":
        if stream.push(byte):
            break
        released.append(stream.take())
    assert released == ["a", "n", " ", "", ""]
    assert stream.take_rest() == ""


def test_an_endless_stream_holds_no_text_that_was_taken() -> None:
    stream, size = TextStream(lambda ids: "x" * 1000 * len(ids)), 0
    tracemalloc.start()
    for _ in range(2000):
        stream.push(7)
        size += len(stream.take())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 2_000_000 > 10 * held
