"""Planning many small files takes work in proportion to their number: counted, not timed."""

import pytest

from pipelines.source.errors import InputError
from pipelines.source.io.locations import require_unique_names


class CountedName(str):
    """A file's name that counts how often it is compared or hashed."""

    __slots__ = ()
    count = 0

    def __eq__(self, other: object) -> bool:
        CountedName.count += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        CountedName.count += 1
        return str.__hash__(self)


def comparisons(num_files: int) -> int:
    names = [CountedName(f"part-{number:05d}.jsonl") for number in range(num_files)]
    CountedName.count = 0
    require_unique_names(names)
    return CountedName.count


def test_names_are_compared_in_proportion_to_their_number():
    counts = [comparisons(size) for size in (1000, 2000, 4000)]
    assert counts[1] < 2.2 * counts[0] and counts[2] < 2.2 * counts[1]


def test_the_first_name_that_stands_twice_is_told():
    names = ["c.jsonl", "b.jsonl", "a.jsonl", "c.jsonl", "b.jsonl"]
    with pytest.raises(InputError, match=r"two files have the name 'b\.jsonl'"):
        require_unique_names(names)
