"""The last lines of an article stay, in every script; the buttons and titles below it go."""

import sys
import unicodedata

import pytest

from pipelines.source.web.extraction.extract import extract
from pipelines.source.web.extraction.layout.tail import ends_sentence

SENTENCE = "The river rose in the night, and the people of the town went to the bridge with their lamps to see it. "
STORY = f"<p>{SENTENCE * 4}</p>" * 4


def last_lines(tail: str, text: str = STORY) -> str:
    page = f"<html><body><main><article><h1>The flood</h1>{text}{tail}</article></main></body></html>"
    return extract(page, "cascade")[0]


SENTENCES = {
    "Hindi": "यह सर्दियों में बंद रहता था।",
    "Sanskrit": "यह बंद रहता था॥",
    "Bengali": "রক্ষক এই অংশ লিখেছেন।",
    "Urdu": "یہ سردیوں میں بند رہتا تھا۔",
    "an Arabic question": "هل أغلقت المنارة في الشتاء؟",
    "Armenian": "Այն փակ էր ձմռանը։",
    "Ethiopic": "በክረምት ተዘግቶ ነበር።",
    "Khmer": "វាត្រូវបានបិទ។",
    "Burmese": "ဆောင်းရာသီတွင် ပိတ်ထားသည်။",
    "Tibetan": "བཀྲ་ཤིས་བདེ་ལེགས།",
    "a full-width stop": "冬は閉まっていた．",
    "a half-width stop": "冬は閉まっていた｡",
    "a bracket": "冬は閉まっていた（今も）",
    "a quotation": "「冬は閉まっていた」",
    "a German quotation": "Er rief: „Das Wasser steigt“",
    "Hebrew with a mark of direction": "היא נסגרה בחורף.&rlm;",
    "a footnote": "It closed in 1931.[4]",
    "a footnote above the line": "It closed in 1931.<sup>4</sup>",
    "a source": "It closed for good in 1931 [12]",
    "a star": "It closed in 1931.*",
    "a proof": "Hence it is closed. ∎",
    "a way back from a footnote": "It closed in 1931. ↩︎",
    "an emoji": "It was closed all winter long! 😀",
}
NO_SENTENCES = {
    "Thai": "ปิดในฤดูหนาว",
    "Japanese without a stop": "冬は閉まっていた",
    "an emoji for a stop": "It was closed all winter long 😀",
    "a signature": "— Ann Brewer, keeper of the ledger",
    "a formula": "so that x = 1",
}


@pytest.mark.parametrize("kind", SENTENCES)
@pytest.mark.parametrize("tag", ["p", "div"])
def test_a_short_last_sentence_stays(kind, tag):
    shown = SENTENCES[kind].replace("&rlm;", "\u200f").replace("<sup>", "").replace("</sup>", "").replace("\ufe0e", "")
    assert shown in last_lines(f"<{tag}>{SENTENCES[kind]}</{tag}>")


@pytest.mark.parametrize("kind", NO_SENTENCES)
def test_a_short_last_paragraph_stays_whatever_ends_it(kind):
    assert NO_SENTENCES[kind] in last_lines(f"<p>{NO_SENTENCES[kind]}</p>")


def test_the_end_of_a_sentence_is_known_in_every_script():
    regex = pytest.importorskip("regex")
    assigned = (each for each in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(each) != "Cn")
    ends = list(filter(regex.compile(r"\p{Sentence_Terminal}").match, assigned))
    assert len(ends) > 150 and [each for each in ends if not ends_sentence(f"x{each}")] == []


VERSE = ["The keeper rose before the day", "and climbed the narrow stair", "to light the lamp above the bay"]
VERSE += ["for ships that were not there", "He never asked who paid the oil", "or why the wick was bare"]
VERSES = {
    "paragraphs": "".join(f"<p>{line}</p>" for line in VERSE),
    "lines of a quotation": f"<blockquote>{'<br>'.join(VERSE)}</blockquote>",
    "quotations": "".join(f"<blockquote><div>{line}</div></blockquote>" for line in VERSE),
    "lines of a block": f"<div class='verse'>{'<br>'.join(VERSE)}</div>",
    "blocks": "".join(f"<div>{line}</div>" for line in VERSE * 2),
    "definitions": f"<dl>{''.join(f'<dt>{line}</dt><dd>{line[::-1]}</dd>' for line in VERSE)}</dl>",
}


@pytest.mark.parametrize("kind", VERSES)
def test_verse_at_the_end_stays(kind):
    text = last_lines(VERSES[kind])
    assert [line for line in VERSE if line not in text] == []


@pytest.mark.parametrize(
    "tail",
    [
        "<div>Back to the top</div><div>More</div>",
        "<h3>Related stories</h3>",
        "<h2>Share this</h2><div><span>Mail</span></div>",
        "<section>Share 📤</section>",
        "<div>Home /</div><div>Lamps, </div><div>5 comments</div>",
        "<h3>Read next ¶</h3>",
        "<table><tr><td>Top 15</td></tr></table>",
        "<p>© 2019 The Lamp Network</p>",
        "<p>Copyright by the lamp makers of the town</p><div>More</div>",
    ],
)
@pytest.mark.parametrize("text", [STORY, f"{STORY}<p>It was late</p>", f"{STORY}<p>{SENTENCES['Hindi']}</p>"])
def test_buttons_titles_and_copyright_below_it_go(tail, text):
    assert last_lines(tail, text) == last_lines("", text)


def test_a_page_of_short_blocks_alone_stays():
    text = last_lines("<div>Lamps</div><div>Oil</div>", "")
    assert text.split() == ["The", "flood", "Lamps", "Oil"]
