"""Signals outside of the words: the language, lists of the user, opt-out signals."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts.formats.line_lists import list_entries
from pipelines.score.safety.lists import UrlList, WordList
from pipelines.score.safety.opt_out import opt_out_scores
from pipelines.score.text.characters import Characters
from pipelines.score.text.language import detect
from tests.kit.real_data import REAL_CASES

SHORT = REAL_CASES / "language_short.json"
TEXTS = {
    "en": "In the night the river had risen, and in the morning many people stood on the bridge to look at it. " * 2,
    "de": "In der Nacht war der Fluss gestiegen, und am Morgen standen viele Menschen auf der Brücke. " * 2,
    "fr": "Dans la nuit, la rivière avait monté, et le matin beaucoup de gens se tenaient sur le pont. " * 2,
    "es": "Por la noche el río había subido, y por la mañana había mucha gente en el puente para verlo. " * 2,
}


@pytest.mark.parametrize("code", TEXTS)
def test_the_language_is_told(code):
    result = detect(TEXTS[code], arbitrate=True)
    assert result.code == code and 0 < result.margin <= 1


SENTENCES = {
    "ar": "يذهب الأطفال إلى المدرسة كل يوم ويعودون في المساء.",
    "cs": "Děti chodí každý den do školy a večer se vracejí domů.",
    "da": "Børnene går i skole hver dag og kommer hjem om aftenen.",
    "de": "Die Kinder gehen jeden Tag zur Schule und kommen abends zurück.",
    "en": "The children go to school every day and come back in the evening.",
    "es": "Los niños van a la escuela todos los días y vuelven por la tarde.",
    "fi": "Lapset käyvät koulua joka päivä ja palaavat illalla.",
    "fr": "Les enfants vont à l'école chaque jour et rentrent le soir.",
    "hi": "बच्चे हर दिन स्कूल जाते हैं और शाम को घर लौटते हैं।",
    "it": "I bambini vanno a scuola ogni giorno e tornano la sera.",
    "ja": "子どもたちは毎日学校へ行き、夕方に帰ってくる。",
    "ko": "아이들은 매일 학교에 가고 저녁에 집으로 돌아온다.",
    "nl": "De kinderen gaan elke dag naar school en komen 's avonds terug.",
    "pl": "Dzieci chodzą codziennie do szkoły i wracają wieczorem.",
    "pt": "As crianças vão à escola todos os dias e voltam à noite.",
    "ru": "Дети каждый день ходят в школу и возвращаются вечером.",
    "sv": "Barnen går till skolan varje dag och kommer hem på kvällen.",
    "th": "เด็ก ๆ ไปโรงเรียนทุกวันและกลับบ้านในตอนเย็น",
    "tr": "Çocuklar her gün okula gidiyor ve akşam geri dönüyor.",
    "uk": "Діти щодня ходять до школи й повертаються ввечері.",
    "vi": "Trẻ em đi học mỗi ngày và trở về vào buổi tối.",
    "zh": "孩子们每天去上学，晚上回家。",
    "zu": "Izingane ziya esikoleni nsuku zonke bese zibuya kusihlwa.",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_the_language_of_one_sentence_is_told(code):
    assert detect(SENTENCES[code], arbitrate=True).code == code


@pytest.mark.parametrize("text", ["12 34 56 7890 2024", "https://a.b/c?d=e", "Xyzzy plugh qwrtp zzxk"])
def test_what_no_engine_knows_is_unknown(text):
    assert detect(text, arbitrate=True).code == "unknown"


@pytest.mark.skipif(not SHORT.exists(), reason="the texts lie beside the repository")
def test_short_texts_have_their_language():
    cases = json.loads(SHORT.read_text(encoding="utf-8"))
    assert {case["text"]: detect(case["text"], arbitrate=True).code for case in cases} == {
        case["text"]: case["expected"] for case in cases
    }


def test_the_second_engine_is_asked_where_the_first_is_not_sure():
    unsure = "Hotel Berlin info menu video online"
    assert detect(unsure, arbitrate=True).arbitrated
    assert not detect(unsure, arbitrate=False).arbitrated
    sure = (
        "In der Nacht war der Fluss gestiegen, und am Morgen standen viele Menschen auf der Brücke, um ihn zu sehen. "
        "Niemand konnte sagen, wie lange es dauern würde, bis die Straßen wieder frei wären und die Kinder zur Schule "
        "gehen könnten. Der Bürgermeister ließ Sand bringen, damit die Häuser am Ufer geschützt blieben."
    )
    assert not detect(sure, arbitrate=True).arbitrated


@pytest.mark.parametrize("text", ["", "\n", "12345 67890", "\ud800", "\0" * 50])
def test_what_is_no_language_is_no_crash(text):
    assert 0 <= detect(text, arbitrate=True).margin <= 1


LISTED = UrlList.of(["Bad.example", "http://mixed.org/bad/", "mixed.org/page.html", "https://q.org/?id=7"])


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("https://bad.example/any/page", True),
        ("http://www.sub.bad.example:8080/", True),
        ("https://notbad.example/", False),
        ("https://bad.example.org/", False),
        ("https://mixed.org/", False),
        ("https://mixed.org/bad", True),
        ("https://www.MIXED.org/bad/deeper?x=1#y", True),
        ("https://mixed.org/badly", False),
        ("https://mixed.org/page.html?utm=1", True),
        ("https://q.org/?id=7", True),
        ("https://q.org/?id=8", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_a_url_is_listed_by_host_by_domain_or_by_path(url, listed):
    assert LISTED.has(url) is listed
    assert not UrlList.of([]).has(url)


SPELLINGS = [
    *("example.org", "EXAMPLE.org.", "www.example.org", "*.example.org", ".example.org", "example.org:8080"),
    *("example.org/", "example.org/*", "https://example.org/*", "*://*.example.org/*", "//example.org"),
    "<example.org>",
]


@pytest.mark.parametrize("entry", SPELLINGS)
@given(
    scheme=st.sampled_from(["http://", "HTTPS://", "//", ""]),
    user=st.sampled_from(["", "user@", "user:word@"]),
    host=st.sampled_from(["example.org", "www.example.org", "a.b.Example.ORG", "badexample.org", "example.org.uk"]),
    rest=st.sampled_from(
        ["", "/", "?", "/?p=123", "?p=1", "/#x", "#x", "/a/b.html?x=/y", "/?u=http://b.org/", ":81/?x"]
    ),
)
def test_a_listed_domain_is_listed_whatever_stands_around_it(entry, scheme, user, host, rest):
    url = f"{scheme}{user if scheme else ''}{host}{rest}"
    # A bare name with a fragment is a row of a file.
    expected = "badexample" not in host and not host.endswith("uk") and bool(scheme or not rest.startswith("#"))
    assert UrlList.of([entry]).has(url) is expected


@pytest.mark.parametrize(
    ("entry", "listed", "other"),
    [
        ("1.2.3.4", "http://1.2.3.4/?x", "http://1.2.3.40/?x"),
        ("[::1]", "http://[::1]:80/?x", "http://[::2]/?x"),
        ("2001:DB8:0::1", "http://[2001:db8::1]/x", "http://[2001:db8::2]/x"),
        ("m\u00fcnchen.de", "http://xn--mnchen-3ya.de/?a=1", "http://munchen.de/?a=1"),
        ("under_score.example.org", "http://under_score.example.org/?a", "http://example.org/?a"),
        ("example.org/a/*", "http://example.org/a/b?x=1", "http://example.org/ab"),
        ("*.example.org/a", "http://www.example.org/a?x=1", "http://example.org/?a"),
        ("example.org/a%2A", "http://example.org/a*?x=1", "http://example.org/ab"),
        ("www.org", "http://www.org/x", "http://example.org/x"),
        ("part.jsonl", "http://part.jsonl/", "part.jsonl#17"),
    ],
)
def test_entries_of_every_kind_list_what_they_name_alone(entry, listed, other):
    assert [UrlList.of([entry]).has(url) for url in (listed, other)] == [True, False]


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "||example.org^",
            "0.0.0.0 example.org",
            "exam*.org",
            "example.*",
            "*",
            "https://",
            "example.org/*/a",
            "a.org/b*",
        ),
        *('"example.org"', "example.org,", "1,example.org", "example.org # why", "mailto:a@b.org", "example.org/a b"),
    ],
)
def test_an_entry_that_would_never_match_is_named(entry):
    with pytest.raises(ValueError, match=re.escape(f"{entry!r} is no domain")):
        UrlList.of(["example.org", entry])


@given(st.from_regex(r"(?a:([a-zA-Z\d_-]{1,5}\.){1,3}[a-zA-Z][a-zA-Z\d-]{1,4})", fullmatch=True))
def test_a_plain_domain_is_read_as_its_url_is(domain):
    assert UrlList.of([domain]) == UrlList.of([f"http://{domain}/"])


def test_words_are_counted_whole_in_any_case_and_phrases_in_order():
    listed = WordList.of(list_entries("# a comment\n\nbad\nVery Bad\nschön\n".encode()))
    text = "Bad badly BAD! It is very bad, bad very; wie SCHÖN."
    assert listed.count(Characters(text).words) == 4 + 1 + 1
    assert WordList.of([]).count(Characters(text).words) == 0
    assert listed.count(Characters("").words) == 0


@pytest.mark.parametrize(
    ("signals", "flags"),
    [
        (None, set()),
        ({}, set()),
        ({"x-robots-tag": "noindex, nofollow"}, {"noindex"}),
        ({"x-robots-tag": "NONE"}, {"noindex"}),
        ({"x-robots-tag": "noai, noimageai"}, {"noai", "noimageai"}),
        ({"meta:robots": "index, nosnippet"}, {"nosnippet"}),
        ({"x-robots-tag": "googlebot: noindex"}, set()),
        ({"x-robots-tag": "GPTBot: noindex"}, {"noai"}),
        ({"meta:ccbot": "none"}, {"noai"}),
        ({"x-robots-tag": "unavailable_after: 25 Jun 2030 15:00:00 PST, noindex"}, {"noindex"}),
        ({"x-robots-tag": "all"}, set()),
        ({"tdm-reservation": "1"}, {"tdm_reserved"}),
        ({"meta:tdm-reservation": "1"}, {"tdm_reserved"}),
        ({"tdm-reservation": "0", "tdm-policy": "https://example.org/policy.json"}, set()),
    ],
)
def test_opt_out_signals_are_read_as_their_specifications_say(signals, flags):
    result = opt_out_scores(None if signals is None else json.dumps(signals))
    assert {name for name, said in result.items() if said} == flags
