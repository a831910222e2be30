"""Terms of use that pages state: opt-outs and licences, detected at their locations and nowhere else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.ai_agents import AI_AGENTS
from pipelines.score.safety.opt_out import opt_out_scores
from pipelines.source.web.page_signals import licence, opt_out


def directives(html: str, **headers: str) -> dict[str, str]:
    result = opt_out({name.replace("_", "-"): value for name, value in headers.items()}, html)
    return json.loads(result) if result else {}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ('<meta name="robots" content="noindex, nofollow">', {"meta:robots": "noindex, nofollow"}),
        ("<META CONTENT='noai' NAME='ROBOTS' />", {"meta:robots": "noai"}),
        ("<meta name=robots content=noindex>", {"meta:robots": "noindex"}),
        ('<meta\n  name = "robots"\n  content = "noai,\n noimageai">', {"meta:robots": "noai, noimageai"}),
        ('<meta name="GoogleBot-News" content="nosnippet">', {"meta:googlebot-news": "nosnippet"}),
        ('<meta name="GPTBot" content="noindex">', {"meta:gptbot": "noindex"}),
        ('<meta name="CCBot" content="nofollow"/>', {"meta:ccbot": "nofollow"}),
        ('<meta name="tdm-reservation" content="1">', {"meta:tdm-reservation": "1"}),
        (
            '<meta name="tdm-policy" content="https://example.org/p?a=1&amp;b=2">',
            {"meta:tdm-policy": "https://example.org/p?a=1&b=2"},
        ),
        (
            '<meta name="robots" content="noindex"><meta name="robots" content="noarchive">',
            {"meta:robots": "noindex, noarchive"},
        ),
        ('<!-- <meta name="robots" content="noindex"> --><meta name="robots" content="all">', {"meta:robots": "all"}),
        ('<meta name="description" content="robots">', {}),
        ('<meta name="robots.txt" content="x">', {}),
        ('<meta property="og:robots" content="x">', {}),
        ('<meta name="robots">', {}),
        ('</head><body><pre>&lt;meta name="robots" content="noindex"&gt;</pre>', {}),
        ('</head><body><meta name="robots" content="noindex">', {}),
    ],
)
def test_directives_of_meta_tags_are_kept_by_name(tag, expected):
    assert directives(f"<html><head><title>x</title>{tag}") == expected


@pytest.mark.parametrize("agent", sorted(AI_AGENTS))
@pytest.mark.parametrize("tag", ['<meta name="{}" content="noindex">', "<META CONTENT=noindex NAME={}>"])
def test_a_directive_for_an_agent_that_counts_is_kept_and_counted(agent, tag):
    for name in (agent, agent.title(), agent.upper()):
        html = f"<html><head>{tag.format(name)}"
        assert directives(html) == {f"meta:{agent}": "noindex"}
        assert opt_out_scores(opt_out({}, html))["noai"]
    assert directives(f"<html><head>{tag.format(agent + '.txt')}") == {}


def test_headers_and_meta_tags_stand_beside_each_other():
    result = directives(
        '<meta name="robots" content="index">', x_robots_tag="noai", tdm_reservation="1", server="nginx"
    )
    assert result == {"x-robots-tag": "noai", "tdm-reservation": "1", "meta:robots": "index"}


CC_BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f'<link rel="license" href="{CC_BY_SA}">', "CC-BY-SA-4.0"),
        (f'<a href="{CC_BY_SA}deed.de" class="x" rel="nofollow license">CC</a>', "CC-BY-SA-4.0"),
        (f"<a rel=license href={CC_BY_SA}>", "CC-BY-SA-4.0"),
        ('<a rel="license" href="//creativecommons.org/licenses/by-nc-nd/2.5/ch/">', "CC-BY-NC-ND-2.5"),
        ('<a rel="license" href="http://creativecommons.org/licenses/by-nd-nc/1.0/">', "CC-BY-NC-ND-1.0"),
        ('<link rel="license" href="http://creativecommons.org/publicdomain/zero/1.0/">', "CC0-1.0"),
        ('<a rel="license" href="https://creativecommons.org/publicdomain/mark/1.0/">', "CC-PDM-1.0"),
        ('<a rel="license" href="https://opensource.org/licenses/MIT">', "MIT"),
        ('<a rel="license" href="https://www.apache.org/licenses/LICENSE-2.0.html">', "Apache-2.0"),
        ('<link itemprop="license" href="https://creativecommons.org/licenses/by/3.0/">', "CC-BY-3.0"),
        (
            f'<script type="application/ld+json">{{"@type": "Article", "license": "{CC_BY_SA}"}}</script>',
            "CC-BY-SA-4.0",
        ),
        ('{"license":"https:\\/\\/creativecommons.org\\/licenses\\/by\\/4.0\\/"}', "CC-BY-4.0"),
        ('{"license": {"@id": "https://creativecommons.org/licenses/by/4.0/"}}', "CC-BY-4.0"),
        (f'{{"@type":"ImageObject","license":"{CC_BY_SA}"}}', None),
        (f'<a href="{CC_BY_SA}">the licence that others use</a>', None),
        (f'<p>rel="license" {CC_BY_SA}', None),
        ('<a rel="license" href="/terms">', None),
        ('<a rel="license" href="https://creativecommons.org/about">', None),
        (f'<a rel="license" href="{CC_BY_SA}"><a rel="license" href="https://opensource.org/licenses/MIT">', None),
        (f'<a rel="license" href="{CC_BY_SA}"><a rel="license" href="{CC_BY_SA}deed.en">', "CC-BY-SA-4.0"),
        ("<p>no licence", None),
    ],
)
def test_the_licence_of_a_page_is_what_it_states_as_its_own(html, expected):
    assert licence(f"<html><head></head><body>{'text ' * 400}{html}{'text ' * 400}") == expected


MARKUP = [
    "<meta ",
    'name="robots" ',
    'content="',
    "<!--",
    "-->",
    ">",
    "creativecommons.org/licenses/by/4.0",
    'rel="license"',
    '{"license":"',
]


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=10), max_size=40).map("".join))
def test_any_page_has_signals_or_none(html):
    result = opt_out({}, html)
    assert result is None or all(name.startswith("meta:") for name in json.loads(result))
    assert licence(html) in (None, "CC-BY-4.0")


@pytest.mark.parametrize(
    "piece",
    [
        *MARKUP,
        "<meta name=",
        "<meta " + "a" * 3000,
        "<" * 100,
        "https://gnu.org",
        "{" * 50,
        "b-" * 50,
        "<meta name=" + "b-" * 50 + ">",
    ],
)
@pytest.mark.timeout(60)
def test_hostile_pages_of_4_mb_do_not_take_time_quadratic_in_their_size(piece):
    page = piece * (2**22 // len(piece))
    assert (opt_out({}, page) or "{}").startswith("{")
    assert licence(page) is None or "licenses/by/4.0" in piece
