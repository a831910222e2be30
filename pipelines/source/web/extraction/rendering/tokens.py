"""The markup that resiliparse writes of a tree, as tags and texts in the order of the page.

A tree becomes HTML in one call of the parser and tokens in one search. To ask the parser for each node would cost
several microseconds a node, and HTML from anywhere else would need a parser: this one has every end tag, every
attribute in double quotes and five entities.
"""

import re

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_ATTRIBUTES = r'(?:\s++[^\s/>][^\s/>=]*+(?:="[^"]*+")?)*+'
"""A name may have quotes: parsers make attributes of all that follows quotes which a page pairs wrongly."""
_TOKEN = re.compile(rf"([^<]++)|<(/?[a-zA-Z][^\s/>]*)({_ATTRIBUTES})\s*/?>|<!--.*?-->|(<)", re.DOTALL)
_PHRASES = re.compile(
    r"</?(?:a|abbr|acronym|b|bdi|bdo|big|cite|data|del|dfn|em|font|i|img|input|ins|label|mark|o:p|picture|q|s|slot|small"
    rf"|source|span|strike|strong|time|u|var|wbr)(?=[\s/>]){_ATTRIBUTES}\s*/?>"
)
"""Tags that change nothing in the text between them."""
_ATTRIBUTE = re.compile(r'\s([\w:-]+)(?:="([^"]*)")?')
FIXED_BLANK = "\ufdd2"
"""Placeholder for a blank that is not white space to HTML; a noncharacter of Unicode."""
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": FIXED_BLANK, "&quot;": '"'}
_ENTITY = re.compile("|".join(_ENTITIES))


Token = tuple[str, str]
"""A tag, with a slash before it if it ends an element, and its attributes; or nothing, and a text."""


def tokens(html: str) -> list[Token]:
    """Tags and texts of resiliparse's serialization, with entities replaced, without phrases that Markdown leaves
    plain."""
    return [
        (tag, attributes) if tag else ("", unescaped(text or bracket))
        for text, tag, attributes, bracket in _TOKEN.findall(_PHRASES.sub("", html))
    ]


def attribute(attributes: str, name: str) -> str:
    """The value of an attribute; "" if there is none."""
    if name not in attributes:
        return ""
    return next((unescaped(value) for key, value in _ATTRIBUTE.findall(attributes) if key == name), "")


def unescaped(text: str) -> str:
    return _ENTITY.sub(lambda match: _ENTITIES[match[0]], text) if "&" in text else text
