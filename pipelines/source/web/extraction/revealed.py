"""Hidden elements that a reader does see: a script or a click shows them."""

import re

from resiliparse.parse.html import ElementNode

_STREAMED = re.compile(r"S:(?=[0-9a-f]+$)")
_TAB = re.compile(
    r"(?:^|[\s_-])tab(?:bed|s)?[_-]?(?:content-)?(?:panels?|panes?|content|body)(?:$|[\s_\d-])", re.IGNORECASE
)


def is_streamed(element: ElementNode) -> bool:
    """Whether React's server sends the element after the page: its id is that of a `template`, with an S instead of
    the B."""
    return _STREAMED.search(element.id or "") is not None


def put_in_place(body: ElementNode, streamed: ElementNode) -> None:
    """Move the content of a streamed element to the place of its template, as React's script does."""
    place = body.get_element_by_id(_STREAMED.sub("B:", streamed.id or ""))
    (place or streamed).replace_with(*streamed.child_nodes.values())


def is_panel(element: ElementNode) -> bool:
    """Whether an element is the panel of a tab or of an accordion (ARIA's authoring practices), or the description of a
    term, by its tag, role or names."""
    if element.tag == "dd" or element.get_attribute("role") in ("tabpanel", "region"):
        return True
    return _TAB.search(f"{element.class_name or ''} {element.id or ''}") is not None
