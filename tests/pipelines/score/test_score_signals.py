"""Signals outside of the words: the language, lists of the user, opt-out signals."""

import json

import pytest

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
