"""Judges elements of a page by their class names and ids: boilerplate, suspect or neither.

The words are those of trafilatura's XPath expressions (A. Barbaresi, "Trafilatura: A Web Scraping Library and
Command-Line Tool for Text Discovery and Extraction", ACL 2021), with the names that content systems give to content
taken out again.
"""

import re
import unicodedata
from functools import lru_cache

_WORDS = (
    r"nav|shar(?:e|ing)|social|tags?|taglist|cookies?|consent|newsletter|subscri\w*|sidebar|bread-?crumbs?|footer|"
    r"related|author|byline|comments?(?:list|form|s)?|outbrain|taboola|banner|menu|login|signup|paywall|popup|modal|"
    r"pagination|pager|teilen|print|recommend\w*|recirc\w*|advert\w*|sponsor\w*|promo|disqus|respond|skip|toolbar|"
    r"ads?|copyright|disclaimer|edit-?section"
)
_BOILERPLATE = re.compile(
    rf"(?:^|[_-])(?:{_WORDS})(?=$|[_-])"
    r"|[a-z](?:Nav|Share|Social|Related|Footer|Sidebar|Newsletter|Comments|Author|Teaser|Breadcrumb)"
    r"|elated[-_A-Z]|avigation|newsletter|bread-?crumb|[Ss]har(?:e|ing)|no-?print|print-none|hide-print"
    r"|most-?(?:popular|read|view)|meistgelesen|outbrain|taboola|akismet|sociable|[Cc]ookie|onetrust|comments-|commentlist"
    r"|nocomments|-reply|also-?like|more-?(?:on|from)"
    # The end of a text that is cut off, and not the whole that ends so ("entry-content-read-more").
    r"|^read-?more|(?<!content-)(?<!content_)read-?more(?![-_]?(?:content|text|wrap|container))"
    # Of all names for hidden elements, these describe the element itself: others describe a part of it ("label-hidden",
    # "quick-add-hidden"), small screens ("hidden-xs"), or a screen size by number ("hidden-bnz77l").
    r"|^(?:is|js|u|d|all|visually|initially|accessibly|element|aria)?[-_]*hidden(?:-(?:text|label|content))?$"
    # Text for screen readers alone, in the words of Bootstrap, Foundation, Drupal, WordPress and Salesforce.
    r"|^(?:sr-only|show-for-sr|screen-?reader(?:-text|-only)?|element-invisible|(?:slds-)?assistive-text)$"
)
_SUSPECT = re.compile(
    r"widget|embed|meta|rating|attachment|timestamp|user-(?!content-)|icon|infos?\b|(?<!post_)message|slide|overlay|options"
    r"|expand|[Tt]easer|caption|next-|prev|stories|popular|trending|latest|promo|box|aside|^bottom|button|date"
    r"|category|categories|topics?|link|recomm|banner|social|headline-list|gallery|carousel|toc\b|poll|quiz|survey"
    r"|(?<![a-z])forms?(?![a-z])|contact|sticky|(?<!tab)(?<!tab[-_s])(?<!tabs[-_])panel|sub-?content|rail"
)
_SAYS_NOT = re.compile(
    r"(?:^|[-_])(?:not?|non|un|without|with|has|have|hide|hides|below|above|before|after|beside)[-_](?!print)"
)
"""The rest of the name describes something near the element or missing from it ("not-footer", "has-sidebar"), so it
does not describe the element."""
_SHOWN_ON_WIDE_SCREENS = re.compile(r"\w+:(?:block|flex|grid|inline|contents|table)")
"""How Tailwind CSS takes back "hidden"."""
_DIGITS = re.compile(r"\d+")
_NUMBERING = re.compile(r"^\W*(?:\d+|[A-Z]\b)(?:\.\d+)*[.):]?\s+")
"""The number of a section before its title."""
_OF_SECTION = re.compile(
    r"^(?:user-content-|(?:sub)*sec(?:tion|t)?[-_:.]|(?:h|id|toc|ch|chapter|anchor|heading)[-_:.])|[-_.]\d+$"
)
"""The prefixes that generators put before the title of a section in its name (GitHub, LaTeX, WordPress), and the
number that they add to the second of the same title."""
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa", "&": " and "})
NAMED_TAGS = ("div", "section", "ul", "ol", "p", "span", "header", "h2", "h3", "h4", "h5", "a")
"""Tags of elements that are boilerplate if their names are."""


@lru_cache(maxsize=2**16)
def judge_names(class_names: str | None, element_id: str | None) -> tuple[bool, bool]:
    """Whether the names of an element are boilerplate's own, or suspect."""
    names = f"{class_names or ''} {element_id or ''}".split()
    if any(map(_SHOWN_ON_WIDE_SCREENS.match, names)):
        names = [name for name in names if name != "hidden"]
    judgements = [_judge_name(name) for name in names if not _names_terms(name, names)]
    return any(boilerplate for boilerplate, _ in judgements), any(suspect for _, suspect in judgements)


@lru_cache(maxsize=2**12)
def is_made_of(name: str, title: str) -> bool:
    """Whether an id or class name is generated from the title of a section, with or without its number."""
    name = name.lower()
    titles = {title, _NUMBERING.sub("", title)}
    slugs = {_letters(each) for spelled in titles for each in (spelled, spelled.lower().translate(_SPELLED))}
    return not slugs.isdisjoint({_letters(name), _letters(_OF_SECTION.sub("", name))} - {""})


def _letters(text: str) -> str:
    """The letters and digits of a text, without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.lower())))


@lru_cache(maxsize=2**16)
def kind_of(tag: str, class_names: str | None) -> tuple[str, frozenset[str]]:
    """The key that repeated elements of a page share: their tag and classes, numbers aside."""
    return tag, frozenset(_DIGITS.sub("", name) for name in (class_names or "").split())


def _names_terms(name: str, names: list[str]) -> bool:
    """Whether `name` is a term of the entry itself: "tag-floods" next to "hentry" (WordPress), "category-news" or
    another of its terms (Squarespace, Shopify)."""
    if not name.startswith("tag-"):
        return False
    return any(other == "hentry" or other.startswith(("category-", "tag-")) for other in names if other != name)


@lru_cache(maxsize=2**16)
def _judge_name(name: str) -> tuple[bool, bool]:
    if says_not := _SAYS_NOT.search(name):
        name = name[: says_not.start()]
    return _BOILERPLATE.search(name) is not None, _SUSPECT.search(name) is not None
