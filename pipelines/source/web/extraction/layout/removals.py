"""What a rule removes at once, and the guard of a page against rules that would remove most of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

MIN_SPARED_SHARE = 0.5
"""Prose of blocks that are called the same, as a share of that of the largest such kind, from which they are content
too if the largest is."""
MIN_TITLE_CHARACTERS = 25
"""Characters of a link from which it is a title and no entry of a menu."""

Element = TypeVar("Element")


class Removal(NamedTuple, Generic[Element]):
    """An element that a rule removes, its characters, and the key that it shares with similar elements."""

    element: Element
    characters: int
    kind: object


def spared(
    removals: Sequence[Removal[Element]], total: int, min_left: float, links_in: Callable[[Element], Iterable[int]]
) -> Sequence[Removal[Element]]:
    """`removals` without the kinds that hold prose, if less than `min_left` of `total` characters would stay.
    `links_in`: characters of each link in an element."""
    if total - sum(each.characters for each in removals) >= min_left * total:
        return removals
    prose: Counter[object] = Counter()
    for each in removals:
        menu = sum(characters for characters in links_in(each.element) if characters < MIN_TITLE_CHARACTERS)
        prose[each.kind] += each.characters - menu
    least = MIN_SPARED_SHARE * max(prose.values(), default=0)
    return [each for each in removals if prose[each.kind] <= 0 or prose[each.kind] < least]
