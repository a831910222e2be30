"""A tree as flat lists of tags and texts, of which elements are measured and removed without asking the parser.

A tree becomes HTML in one call of the parser and tags in one search. To ask the parser for each node would cost
several microseconds a node, and HTML from anywhere else would need a parser: this one has every end tag, every
attribute in double quotes and five entities.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_TAG = re.compile(
    # A name may have quotes: parsers make attributes of all that follows quotes which a page pairs wrongly.
    r'<(/?[a-zA-Z][^\s/>]*)((?:\s++[^\s/>][^\s/>=]*+(?:="[^"]*+")?)*+)\s*/?>|<!--.*?-->',
    re.DOTALL,
)
_NOTHING = "<body></body>"
"""What is read where the parser writes nothing: of a page of frames."""
PHRASES = frozenset(
    f"{slash}{tag}"
    for slash in ("", "/")
    for tag in (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "data", "del", "dfn", "em", "font", "i", "img"),
        *("input", "ins", "label", "mark", "o:p", "picture", "q", "s", "slot", "small", "source", "span", "strike"),
        *("strong", "time", "u", "var", "wbr"),
    )
)
"""Tags that change nothing in the text between them."""
_ATTRIBUTE = re.compile(r'\s([\w:-]+)(?:="([^"]*)")?')
_NAMES = re.compile(r'(?:\s(?:class="([^"]*)"|id="([^"]*)"|[^\s=]+(?:="[^"]*")?))*')
FIXED_BLANK = "\ufdd2"
"""Placeholder for a blank that is not white space to HTML; a noncharacter of Unicode."""
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": FIXED_BLANK, "&quot;": '"'}
_ENTITY = re.compile("|".join(_ENTITIES))


class Markup:
    """The tags of resiliparse's serialization of an element, by their index in it; an element is the index of its start
    tag. Removed tags, and comments, are tags without a name."""

    def __init__(self, html: str) -> None:
        _, *parts = _TAG.split(html or _NOTHING)
        self.html = html
        self.tags: list[str] = [tag or "" for tag in parts[::3]]
        """Names of the tags, with a slash before it if it ends an element."""
        self.attributes: list[str] = [attributes or "" for attributes in parts[1::3]]
        """The attributes in each start tag, as they are written."""
        # All texts at once, for they are many and short. A parser leaves no NUL in any.
        texts = unescaped("\0".join(parts[2::3]))
        self.texts: list[str] = texts.split("\0")
        """The text after each tag, entities replaced."""
        inked_texts = texts.replace(" ", "").replace("\n", "").replace("\t", "")
        self.characters: list[int] = list(map(len, inked_texts.split("\0")))
        """The characters of each text that are not blank."""
        self.ends: list[int] = list(range(len(self.tags)))
        """The index of the end tag of each element that has one; of all other tags their own."""
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        """The elements of each tag that has an end tag."""
        self._read_elements()

    def _read_elements(self) -> None:
        tags, ends, places = self.tags, self.ends, self._places
        begun: list[int] = []
        for index, tag in enumerate(tags):
            if not tag or tag in VOID:
                continue
            if tag[0] != "/":
                begun.append(index)
                places[tag].append(index)
            elif begun and tags[begun[-1]] == tag[1:]:
                ends[begun.pop()] = index
            elif any(tags[each] == tag[1:] for each in begun):  # text that looks like tags began the others
                while tags[start := begun.pop()] != tag[1:]:
                    ends[start] = index
                ends[start] = index

    @cached_property
    def names(self) -> Mapping[str, tuple[str, str]]:
        """Class names and id, as of `names_in`, among the attributes of all elements that have any."""
        return {each: names_in(each) for each in set(self.attributes) if each}

    def elements(self, names: Iterable[str]) -> list[int]:
        """The elements that are left with one of these tags, in the order of the page; of tags that have an end."""
        tags = self.tags
        return sorted(index for name in names for index in self._places.get(name, ()) if tags[index])

    @cached_property
    def parents(self) -> list[int]:
        """The element around each tag; that around the outermost is itself."""
        parents, around = [], [0]
        for index, end in enumerate(self.ends):
            while index > self.ends[around[-1]] and len(around) > 1:
                around.pop()
            parents.append(around[-1])
            if end > index:
                around.append(index)
        return parents

    def text(self, element: int) -> str:
        """All text of an element."""
        return "".join(self.texts[element : self.ends[element]]).replace(FIXED_BLANK, "\xa0")

    def first_child(self, element: int) -> int | None:
        """The first element in an element, if there is any."""
        index = element + 1
        while index < self.ends[element] and not self.tags[index]:
            index += 1
        return index if index < self.ends[element] else None

    def remove(self, element: int) -> None:
        """Remove an element with all that is in it."""
        end = self.ends[element]
        self.tags[element : end + 1] = self.attributes[element : end + 1] = [""] * (end + 1 - element)
        self.texts[element:end] = [""] * (end - element)
        self.characters[element:end] = [0] * (end - element)


class Outermost:
    """Those of some elements, in the order of their page, that are in no other of them, as ranges of tags."""

    def __init__(self, page: Markup, elements: Iterable[int]) -> None:
        self.starts: list[int] = []
        self._ends: list[int] = []
        for element in elements:
            if not self._ends or element > self._ends[-1]:
                self.starts.append(element)
                self._ends.append(page.ends[element])

    def __contains__(self, element: int) -> bool:
        """Whether an element is one of them, or in one."""
        index = bisect_right(self.starts, element)
        return index > 0 and element <= self._ends[index - 1]


def attribute(attributes: str, name: str) -> str:
    """The value of an attribute; "" if there is none."""
    if name not in attributes:
        return ""
    return next((unescaped(value) for key, value in _ATTRIBUTE.findall(attributes) if key == name), "")


def names_in(attributes: str) -> tuple[str, str]:
    """Class names and id among the attributes of an element; "" for what it does not have."""
    names = _NAMES.match(attributes)
    return (unescaped(names[1] or ""), unescaped(names[2] or "")) if names else ("", "")


def unescaped(text: str) -> str:
    return _ENTITY.sub(lambda match: _ENTITIES[match[0]], text) if "&" in text else text
