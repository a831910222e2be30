"""Removes boilerplate from the main part of a page: blocks by their names, and lists of links."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice

from pipelines.source.web.extraction.code import MIN_CODE_SHARE, code_in
from pipelines.source.web.extraction.layout.names import NAMED_TAGS, is_made_of, judge_names, kind_of
from pipelines.source.web.extraction.layout.removals import Removal, spared
from pipelines.source.web.extraction.layout.tail import ends_sentence
from pipelines.source.web.extraction.layout.type_rules import Rules
from pipelines.source.web.extraction.markup import Markup, Outermost, attribute, names_in
from pipelines.source.web.extraction.rendering.tables import tables_with_head

MAX_NAMED_SHARE = 0.5
"""Share of the main part above which a block is never boilerplate, regardless of its name."""
MAX_SUSPECT_SHARE = 0.2
"""As MAX_NAMED_SHARE, for names that boilerplate and content both bear."""
MIN_LEFT_SHARE = 0.2
"""Share of the main part that pruning leaves: above all the blocks that are called the same, answers called comments or
entries that are links, are the page's content."""
MIN_ENTRIES = 3
"""Blocks of one kind from which they are entries of a list, if their share of the page is large."""
SHORT_CHARACTERS = 140
"""A suspect block shorter than this goes."""
MAX_SUSPECT_LINK_DENSITY = 0.4
"""Share of a longer suspect block's characters that are links above which it goes."""
MAX_LINK_DENSITY = 0.5
"""Share of characters that are links above which any block is a list of links and goes."""
MAX_LINK_LIST_CHARACTERS = 2600
"""A longer block of links may be the purpose of the page."""
MIN_AROUND_LINKS = 12
"""Characters around the links of a paragraph from which it may be a sentence: "See also" has seven, a list of tags with
its title fewer."""
MIN_HEADED_BLOCKS = 3
"""Blocks of a page whose ids repeat their headings from which its ids are made of headings and name nothing."""
MAX_BEFORE_HEADING = 100
"""Characters before its heading in a section: of links to the sections around it."""
MAX_HEADING_CHARACTERS = 200
"""No id is made of a longer heading."""

_NAMED = frozenset(NAMED_TAGS)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_LINKED = frozenset({"ul", "ol", "table", "div", "p", "h2", "h3", "h4", "h5"})
_HEADED = frozenset({"section", "div", *_HEADINGS})


def prune(page: Markup, main: int, characters: int, rules: Rules) -> None:
    """Remove the boilerplate below the element `main` of a page, which has so many `characters` that are not blank."""
    pruning = _Pruning(page, main, rules)
    left = max(0, characters - pruning.remove_named(characters))
    if rules.link_lists and page.elements(["a"]):
        if left < characters:
            pruning.measure()
        pruning.remove_link_lists(left)


class _Pruning:
    """The elements of a page with their characters, and the rules for them."""

    def __init__(self, page: Markup, main: int, rules: Rules) -> None:
        self._page, self._rules = page, rules
        self._below = range(main + 1, page.ends[main])
        self._in_code = Outermost(page, code_in(page))
        self._has_code = any(each in self._below for each in self._in_code.starts)
        self._headings = page.elements(_HEADINGS)
        self._headed: bool | None = None
        self._called: bool | None = None
        self.measure()

    def measure(self) -> None:
        """Count the characters before each tag, and those of the links and listings."""
        tags = self._page.tags
        self._before: list[int] = list(accumulate(self._page.characters, initial=0))
        self._links = self._page.elements(["a"])
        self._in_links: list[int] = list(accumulate(map(self._length, self._links), initial=0))
        self._listings = [index for index in self._in_code.starts if tags[index]]
        self._in_listings: list[int] = list(accumulate(map(self._length, self._listings), initial=0))

    def remove_named(self, total: int) -> int:
        """Remove the blocks that are boilerplate by their names; returns how many characters went of `total`."""
        tags, attributes = self._page.tags, self._page.attributes
        suspicious = {each for each, names in self._page.names.items() if any(judge_names(*names))}
        named = (index for index in self._below if attributes[index] in suspicious and tags[index] in _NAMED)
        return self._remove(named, lambda element: self._is_named_boilerplate(element, total), total)

    def remove_link_lists(self, total: int) -> int:
        """Remove the blocks that consist of links; returns how many characters went of `total`."""
        tables, titles = tables_with_head(self._page), self._page.elements(["h1"])
        linked = (each for each in self._page.elements(_LINKED) if each in self._below and each not in tables)
        return self._remove(
            linked,
            # The title stays among links, such as breadcrumbs.
            lambda element: self._is_link_list(element) and self._first_in(element, titles) is None,
            total,
        )

    def _remove(self, candidates: Iterable[int], goes: Callable[[int], bool], total: int) -> int:
        """Remove the `candidates` that `goes` picks, unless one is the content of the page; descendants of removed
        elements are not tested. Returns how many characters went."""
        page, removals, end = self._page, [], 0
        for element in candidates:
            if element > end and goes(element) and not (self._has_code and element in self._in_code):
                removals.append(Removal(element, self._length(element), self._kind(element)))
                end = page.ends[element]
        going = spared(self._without_entries(removals, total), total, MIN_LEFT_SHARE, self._lengths_of_links)
        for each in going:
            page.remove(each.element)
        return sum(each.characters for each in going)

    def _without_entries(self, removals: list[Removal[int]], total: int) -> list[Removal[int]]:
        """`removals` without the kinds that repeat and together hold much of the main part: the entries of a page that
        lists them, of which some are short."""
        if not removals or self._rules.min_entries_share >= 1:
            return removals
        min_characters = self._rules.min_entries_share * total
        entries = {
            kind
            for kind, members in self._members(removals).items()
            if len(members) >= MIN_ENTRIES and sum(map(self._length, members)) >= min_characters
        }
        return [each for each in removals if each.kind not in entries or not self._may_be_entry(each.element)]

    def _members(self, removals: Iterable[Removal[int]]) -> Mapping[object, Sequence[int]]:
        """The elements of the kind of each removal: all in the main part that have its class names, and the removed
        ones that have none."""
        members: dict[object, list[int]] = {each.kind: [] for each in removals}
        attributes = self._page.attributes
        nameless = (each.element for each in removals if "class=" not in attributes[each.element])
        for element in (*(index for index in self._below if "class=" in attributes[index]), *nameless):
            if (kind := self._kind(element)) in members:
                members[kind].append(element)
        return members

    def _kind(self, element: int) -> tuple[str, frozenset[str]]:
        return kind_of(self._page.tags[element], names_in(self._page.attributes[element])[0])

    def _may_be_entry(self, element: int) -> bool:
        return self._rules.entries_of_any_name or not judge_names(names_in(self._page.attributes[element])[0], None)[0]

    def _is_named_boilerplate(self, element: int, total: int) -> bool:
        class_names, element_id = names_in(self._page.attributes[element])
        boilerplate, suspect = judge_names(class_names, element_id)
        if not boilerplate and not suspect:
            return False
        if element_id and self._is_named_after_its_heading(element):
            boilerplate, suspect = judge_names(class_names, None)
        elif class_names and self._is_called_like_its_heading(element, total):
            boilerplate, suspect = judge_names(None, element_id)
        if boilerplate and self._length(element) <= MAX_NAMED_SHARE * total:
            return not self._is_listing(element)
        if not suspect or not self._rules.suspects:
            return False
        return self._is_boilerplate(element, total) and not self._is_listing(element)

    def _is_boilerplate(self, suspect: int, total: int) -> bool:
        characters = self._length(suspect)
        if characters > MAX_SUSPECT_SHARE * total:
            return False
        return characters < SHORT_CHARACTERS or self._length_of_links(suspect) > MAX_SUSPECT_LINK_DENSITY * characters

    def _is_link_list(self, element: int) -> bool:
        characters = self._length(element)
        if not 0 < characters < MAX_LINK_LIST_CHARACTERS:
            return False
        if self._length_of_links(element) <= MAX_LINK_DENSITY * characters or self._is_listing(element):
            return False
        if self._page.tags[element] == "p" and self._is_sentence(element):
            return False
        return not (self._page.tags[element] in _HEADINGS and self._has_link_to_itself(element))

    def _is_sentence(self, paragraph: int) -> bool:
        """Whether a paragraph of links is a sentence around them: "See also A, B and C."."""
        if self._length(paragraph) - self._length_of_links(paragraph) < MIN_AROUND_LINKS:
            return False
        text = self._page.text(paragraph).strip()
        return ends_sentence(text) and not text.endswith(":")

    def _has_link_to_itself(self, heading: int) -> bool:
        attributes = self._page.attributes
        return any(
            attribute(attributes[link], "href").startswith("#")
            for link in self._links[slice(*self._inside(heading, self._links))]
        )

    def _is_listing(self, element: int) -> bool:
        """Whether most of the element's text is code, as in the blocks that highlighters make and the cells of
        notebooks."""
        first, end = self._inside(element, self._listings)
        code = self._in_listings[end] - self._in_listings[first]
        return first < end and code >= MIN_CODE_SHARE * self._length(element)

    def _is_named_after_its_heading(self, element: int) -> bool:
        heading = self._repeated_heading(element)
        if heading is None:
            return False
        if self._has_link_to_itself(heading):
            return True
        if self._headed is None:
            page = self._page
            blocks = (each for each in page.elements(_HEADED) if each in self._below and "id=" in page.attributes[each])
            headed = (each for each in blocks if self._repeated_heading(each) is not None)
            self._headed = sum(1 for _ in islice(headed, MIN_HEADED_BLOCKS)) == MIN_HEADED_BLOCKS
        return self._headed

    def _repeated_heading(self, element: int) -> int | None:
        """The heading that an element is or begins with, if the element's id is generated from it."""
        heading = self._heading_of(element)
        if heading is None:
            return None
        element_id = names_in(self._page.attributes[element])[1]
        return heading if is_made_of(element_id, self._page.text(heading)) else None

    def _is_called_like_its_heading(self, element: int, total: int) -> bool:
        """Whether the class of an element repeats its heading, and the sections called so are most of the page."""
        if not self._repeats_heading_in_class(element):
            return False
        if self._called is None:
            blocks = (each for each in self._page.elements(("section", "div")) if each in self._below)
            called = Outermost(self._page, filter(self._repeats_heading_in_class, blocks))
            self._called = sum(map(self._length, called.starts)) > MAX_NAMED_SHARE * total
        return self._called

    def _repeats_heading_in_class(self, element: int) -> bool:
        heading = self._heading_of(element) if "class=" in self._page.attributes[element] else None
        if heading is None:
            return False
        title = self._page.text(heading)
        return any(is_made_of(name, title) for name in names_in(self._page.attributes[element])[0].split())

    def _heading_of(self, element: int) -> int | None:
        """The heading that an element is or begins with."""
        heading = element if self._page.tags[element] in _HEADINGS else self._first_in(element, self._headings)
        if heading is None or self._before[heading] - self._before[element] > MAX_BEFORE_HEADING:
            return None
        return heading if self._length(heading) <= MAX_HEADING_CHARACTERS else None

    def _length(self, element: int) -> int:
        """Characters of the element's text that are not blank."""
        return self._before[self._page.ends[element]] - self._before[element]

    def _first_in(self, element: int, others: Sequence[int]) -> int | None:
        """The first in an element of some others, which are in the order of the page."""
        index = bisect_right(others, element)
        return others[index] if index < len(others) and others[index] < self._page.ends[element] else None

    def _length_of_links(self, element: int) -> int:
        first, end = self._inside(element, self._links)
        return self._in_links[end] - self._in_links[first]

    def _lengths_of_links(self, element: int) -> Iterator[int]:
        return map(self._length, self._links[slice(*self._inside(element, self._links))])

    def _inside(self, element: int, others: Sequence[int]) -> tuple[int, int]:
        """The first in an element of some others, which are in the order of the page, and the first after it."""
        return bisect_right(others, element), bisect_right(others, self._page.ends[element])
