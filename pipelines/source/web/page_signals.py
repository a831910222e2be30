"""The terms of use that a page states: opt-outs in HTTP headers and meta tags, and its licence."""

import html as entities
import json
import re
from collections.abc import Iterator, Mapping

from pipelines.artifacts.ai_agents import AI_AGENTS

OPT_OUT_HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy")
"""Response headers by which a site refuses indexing, training or text and data mining (W3C TDM Reservation)."""
SEARCHED_CHARACTERS = 256 * 2**10
"""Of the start of a page for meta tags, which are in its head."""
MAX_LICENCE_CHARACTERS = 4 * 2**20
"""Of a page for its licence, which may be in its last line."""
_MAX_VALUE_CHARACTERS = 1000
_MAX_LICENCE_URLS = 50
_NEARBY = 1000
"""Characters around a licence's address in which its tag or JSON object is searched."""
_META = re.compile(r"<(?:meta|META|Meta)\s([^<>]{1,4000})>")
_NAME = re.compile(
    rf"""name(?<=\bname)\s*=\s*["']?\s*(robots|slurp|teoma|tdm-reservation|tdm-policy|{"|".join(sorted(AI_AGENTS))}"""
    r"""|[\w-]{0,40}(?:bot|spider|crawler)(?:-[\w-]{1,40})?)\s*(?=["'\s/]|$)"""
)
"""In a tag in lower case. It starts with letters alone, which Python searches for quickly."""
_CONTENT = re.compile(r"""\bcontent\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_LICENCE_HOSTS = ("creativecommons.org", "opensource.org", "gnu.org", "apache.org")
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-(?:sa|nd))?|by-nd-nc)/([1-4]\.\d)|publicdomain/(zero|mark)/1\.0)",
    re.IGNORECASE,
)
_OTHER_LICENCES: Mapping[str, str] = {
    "opensource.org/licenses/mit": "MIT",
    "opensource.org/license/mit": "MIT",
    "opensource.org/licenses/bsd-3-clause": "BSD-3-Clause",
    "opensource.org/licenses/bsd-2-clause": "BSD-2-Clause",
    "opensource.org/licenses/apache-2.0": "Apache-2.0",
    "apache.org/licenses/license-2.0": "Apache-2.0",
    "gnu.org/licenses/fdl-1.3": "GFDL-1.3-or-later",
    "gnu.org/licenses/old-licenses/fdl-1.2": "GFDL-1.2-or-later",
    "gnu.org/licenses/gpl-3.0": "GPL-3.0-or-later",
    "gnu.org/licenses/gpl-2.0": "GPL-2.0-or-later",
    "gnu.org/licenses/old-licenses/gpl-2.0": "GPL-2.0-or-later",
}
_LICENCE_LINK = re.compile(
    r"""\b(?:rel\s*=\s*(?:["'][^"']*\blicense\b|license\b)|itemprop\s*=\s*["']?license\b)""", re.I
)
_LICENCE_FIELD = re.compile(
    r"""["'](?:license|https?:\\?/\\?/schema\.org\\?/license)["']\s*:\s*(?:\{\s*["']@id["']\s*:\s*)?["']$"""
)
_PART_OF_A_PAGE = re.compile(r"""["']@type["']\s*:\s*["'](?:Image|Video|Audio|Media)Object["']""")


def opt_out(headers: Mapping[str, str], html: str) -> str | None:
    """The page's directives to robots and miners as JSON, headers by name and meta tags as "meta:" and name; None
    if it has none."""
    signals = {name: headers[name] for name in OPT_OUT_HEADERS if name in headers}
    for name, value in _meta_directives(html):
        earlier = signals.get(f"meta:{name}")
        signals[f"meta:{name}"] = value if earlier is None else f"{earlier}, {value}"
    return json.dumps(signals, sort_keys=True, ensure_ascii=False) if signals else None


def licence(html: str) -> str | None:
    """SPDX id of the licence that the page states as its own, by `rel=license` or schema.org; None if it states none
    or several."""
    page = html[:MAX_LICENCE_CHARACTERS]
    if "license" not in page:
        return None
    licences = {name for host in _LICENCE_HOSTS for name in _stated_licences(page, host)}
    return licences.pop() if len(licences) == 1 else None


def _meta_directives(html: str) -> Iterator[tuple[str, str]]:
    for tag in _META.findall(_without_comments(_head(html))):
        name = _NAME.search(tag.lower())
        if name and (content := _CONTENT.search(tag)):
            value = entities.unescape(content[1] or content[2] or content[3] or "")
            yield name[1], " ".join(value.split())[:_MAX_VALUE_CHARACTERS]


def _head(html: str) -> str:
    for body in ("<body", "<BODY"):
        end = html.find(body, 0, SEARCHED_CHARACTERS)
        if end >= 0:
            return html[:end]
    return html[:SEARCHED_CHARACTERS]


def _without_comments(html: str) -> str:
    first, *others = html.split("<!--")
    return first + "".join(part.partition("-->")[2] for part in others)


def _stated_licences(page: str, host: str) -> Iterator[str]:
    at = -1
    for _ in range(_MAX_LICENCE_URLS):
        at = page.find(host, at + 1)
        if at < 0:
            return
        if _is_the_licence_of_the_page(page, at):
            name = _spdx(page[at : at + 100].replace("\\/", "/"))
            if name:
                yield name


def _is_the_licence_of_the_page(page: str, at: int) -> bool:
    before, after = page[max(0, at - _NEARBY) : at], page[at : at + _NEARBY]
    opened = before.rpartition("<")[2]
    if ">" not in opened and _LICENCE_LINK.search(opened + after.partition(">")[0]):
        return True
    scheme = re.search(r"https?:(?:\\?/){2}(?:www\.)?$", before)
    if not scheme or not _LICENCE_FIELD.search(before[: scheme.start()]):
        return False
    thing = before.rpartition("{")[2] + after.partition("}")[0]
    return not _PART_OF_A_PAGE.search(thing)


def _spdx(address: str) -> str | None:
    if match := _CREATIVE_COMMONS.match(address):
        kind, version, public_domain = match.groups()
        if public_domain:
            return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}[public_domain.lower()]
        return f"CC-{kind.upper().replace('ND-NC', 'NC-ND')}-{version}"
    address = address.lower()
    return next((name for start, name in _OTHER_LICENCES.items() if address.startswith(start)), None)
