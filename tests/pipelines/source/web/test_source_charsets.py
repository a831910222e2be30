"""Bytes to text: the real charset is detected, regardless of header and meta tag."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.source.web.charsets import UndecodablePageError, decode

GERMAN = "<html><head>{meta}</head><body><p>Der Müller wohnt über dem Fluß, wo er schöne Brötchen bäckt.</p></body>"
LANGUAGES = {
    "de": GERMAN.format(meta=""),
    "ru": "<p>Река поднялась ночью, и люди вышли на мост с фонарями, чтобы посмотреть на неё.",
    "ja": "<p>夜のうちに川の水が増え、町の人々はランプを持って橋へ見に行きました。①",
    "zh": "<p>夜里河水上涨，镇上的人们提着灯到桥上去看。",
    "ko": "<p>밤사이 강물이 불어나자 마을 사람들이 등불을 들고 다리로 구경하러 갔다.",
}
CHARSETS = {
    "de": ["utf-8", "iso-8859-1", "windows-1252", "utf-16le", "utf-16be"],
    "ru": ["utf-8", "windows-1251", "koi8-r", "iso-8859-5", "utf-16le"],
    "ja": ["utf-8", "shift_jis", "utf-16be"],
    "zh": ["utf-8", "gb2312", "gb18030", "big5", "utf-16le"],
    "ko": ["utf-8", "euc-kr", "utf-16be"],
}
CASES = [
    (language, charset)
    for language, charsets in CHARSETS.items()
    for charset in charsets
    if (language, charset) != ("zh", "big5")
]
PYTHON = {"shift_jis": "cp932"}


def packed(language: str, charset: str) -> bytes:
    return LANGUAGES[language].encode(PYTHON.get(charset, charset))


@pytest.mark.parametrize(("language", "charset"), CASES)
@pytest.mark.parametrize("stated", ["header", "meta", "both"])
def test_the_charset_is_taken_from_header_or_meta_tag(language, charset, stated):
    meta = f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">'
    html = (meta if stated != "header" else "") + LANGUAGES[language]
    content_type = f'text/html; charset="{charset.upper()}"' if stated != "meta" else "text/html"
    assert decode(html.encode(PYTHON.get(charset, charset)), content_type) == html


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252", "utf-16le"])
def test_where_nothing_is_stated_the_bytes_tell(charset):
    assert decode(packed("de", charset), "text/html") == LANGUAGES["de"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "claim", ["iso-8859-1", "windows-1252", "latin-1", "windows-1251", "utf-16", "nonsense", "utf8"]
)
def test_utf8_is_read_as_utf8_against_every_claim_that_is_no_evidence(language, claim):
    html = f'<meta charset="{claim}">{LANGUAGES[language]}'
    assert decode(html.encode(), f"text/html; charset={claim}") == html


@pytest.mark.parametrize("claim", ["utf-8", "utf-16", "nonsense"])
@pytest.mark.parametrize(
    ("language", "charset"), [("ru", "windows-1251"), ("ru", "koi8-r"), ("ja", "shift_jis"), ("zh", "gb2312")]
)
def test_where_the_header_lies_the_meta_tag_decides(language, charset, claim):
    html = f"<meta charset={charset}>{LANGUAGES[language]}"
    assert decode(html.encode(PYTHON.get(charset, charset)), f"text/html; charset={claim}") == html


def test_where_both_lie_the_statistics_decide():
    html = GERMAN.format(meta="<meta charset=utf-8>")
    assert decode(html.encode("latin-1"), "text/html; charset=utf-8") == html


def test_latin1_is_what_browsers_mean_by_it():
    assert decode("<p>“fünf” €".encode("windows-1252"), "text/html; charset=latin-1") == "<p>“fünf” €"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_byte_order_mark_decides_and_is_no_text(codec):
    mark = "\ufeff" if codec == "utf-16-be" else ""
    assert decode((mark + LANGUAGES["ru"]).encode(codec), "text/html; charset=windows-1252") == LANGUAGES["ru"]


def test_a_few_bad_bytes_do_not_turn_a_page_in_utf8_into_another_charset():
    text = LANGUAGES["ru"] * 20
    result = decode(text.encode() + b"\xff" + "конец".encode()[:-1], "text/html; charset=utf-8")
    assert result.startswith(text) and result.count("\ufffd") == 2


@pytest.mark.parametrize("body", [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" + bytes(2000), bytes(2000)])
def test_bytes_that_are_no_text_in_any_charset_are_refused(body):
    with pytest.raises(UndecodablePageError, match="undecodable text"):
        decode(body, "text/html")


@pytest.mark.parametrize("code", range(128))
def test_more_than_a_few_controls_are_no_text_and_blanks_are_no_controls(code):
    body = b"text " * 20 + bytes([code]) * 2
    if chr(code).isprintable() or code in b"\t\n\v\f\r":
        assert decode(body, "text/html") == body.decode()
    else:
        with pytest.raises(UndecodablePageError, match="2 of 102 characters"):
            decode(body, "text/html")


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([packed(*case) for case in CASES]), max_size=5).map(b"".join),
    st.sampled_from(["", "charset=", *(f"charset={charset}" for _, charset in CASES)]),
)
def test_any_bytes_are_text_that_can_be_stored_or_refused(body, content_type):
    try:
        decode(body, content_type).encode()
    except UndecodablePageError:
        return


FOREIGN = {
    "gb18030": "这条河在夜里涨水了，镇上的人们提着灯走到桥上去看。",
    "cp1251": "Река поднялась ночью, и люди города пришли на мост, чтобы посмотреть на неё.",
    "koi8-r": "Река поднялась ночью, и люди города пришли на мост, чтобы посмотреть на неё.",
    "euc_jp": "夜に川が増水して、町の人々は明かりを持って橋へ見に行きました。",
}
WESTERN = [
    "Der Fluß stieg über die Ufer, und die Bürger kamen mit Lampen zur Brücke, ihn zu sehen. Äußerst übel, größer.",
    "L'été, la rivière était montée; les élèves étaient là, à côté, près du café où ça a commencé. Créée, âgées.",
    "\xa0\xa0\xa0\xa0\u201cO rio subiu\u201d \u2013 \xa0\xa0\xa0\xa0 a população foi à ponte não então ação.",
]


@pytest.mark.parametrize("charset", FOREIGN)
@pytest.mark.parametrize("header", ["text/html; charset=ISO-8859-1", "text/html; charset=windows-1252"])
def test_a_header_of_the_servers_default_does_not_outweigh_the_bytes(charset, header):
    body = f"<html><body><p>{FOREIGN[charset]}</p></body></html>"
    assert decode(body.encode(charset), header) == body
    with_meta = f'<meta charset="{charset}">{body}'
    assert decode(with_meta.encode(charset), header) == with_meta


@pytest.mark.parametrize("text", WESTERN)
def test_western_text_is_read_by_its_header(text):
    assert decode(f"<p>{text * 3}</p>".encode("cp1252"), "text/html; charset=ISO-8859-1") == f"<p>{text * 3}</p>"


TEXTS = {
    "ko": "강물이 밤사이에 불어나서 마을 사람들은 등불을 들고 다리로 나가 그것을 보았다.",
    "zh": "河水在夜里上涨，镇上的人们提着灯走到桥边去看。守灯塔的人把每一艘船都记在书里。",
    "ja": "川は夜のうちに増水し、町の人々は灯りを持って橋へ見に行った。灯台守は船を書き留めた。",
    "ru": "Река поднялась ночью, и жители города пошли к мосту с фонарями, чтобы посмотреть на неё.",
}


@pytest.mark.parametrize(
    ("language", "charset"),
    [
        *(("ko", "euc-kr"), ("ko", "cp949"), ("ja", "iso2022_jp"), ("ja", "euc-jp"), ("ja", "shift_jis")),
        *(("zh", "gb18030"), ("ru", "cp1251"), ("ru", "koi8-r"), ("ko", "utf-8"), ("ja", "utf-8")),
    ],
)
def test_charsets_that_nobody_declares_are_known_by_their_bytes(language, charset):
    page = f"<html><head><title>x</title></head><body><p>{TEXTS[language] * 3}</p></body></html>"
    assert decode(page.encode(charset), "") == page


NORTH = {
    "de": "Der kleine Leuchtturm an der Nordküste wurde lange vor dem Hafen gebaut; jedes Schiff steht im Büchlein.",
    "pl": "Mała latarnia na północnym brzegu została zbudowana długo przed portem, a jej strażnicy piszą księgę.",
    "tr": "Kuzey kıyısındaki küçük deniz feneri limandan çok önce inşa edildi ve bekçileri geçen gemiyi yazdılar.",
    "uk": "Маленький маяк на північному березі збудували задовго до гавані, і його доглядачі записували кораблі.",
    "ru": TEXTS["ru"],
    "el": "Ο μικρός φάρος στη βόρεια ακτή χτίστηκε πολύ πριν από το λιμάνι και οι φύλακες έγραφαν κάθε πλοίο.",
    "th": "ประภาคารเล็กบนชายฝั่งทางเหนือสร้างขึ้นก่อนท่าเรือนานแล้ว และผู้ดูแลจดชื่อเรือทุกลำที่ผ่านไป",
    "ja": TEXTS["ja"],
    "zh": "一一" + TEXTS["zh"] + "\u3000一",
    "ko": TEXTS["ko"],
}


def page(language: str) -> str:
    return f"<html><head><title>x</title></head><body><p>{NORTH[language] * 5}</p></body></html>"


@pytest.mark.parametrize("language", NORTH)
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-32"])
@pytest.mark.parametrize("header", ["text/html", "text/html; charset=iso-8859-1", "text/html; charset=gbk"])
def test_wide_characters_are_known_by_their_markup_in_every_script(language, codec, header):
    assert decode(page(language).encode(codec), header) == page(language)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_few_bad_units_and_an_odd_byte_do_not_hide_wide_characters(codec):
    body = page("zh").encode(codec)
    cut = body[:100] + b"\xd8\xd8" + body[102:] + b"<"
    assert decode(cut, "text/html").count("\ufffd") == 2


@pytest.mark.parametrize("language", NORTH)
@pytest.mark.parametrize("claim", ["gbk", "gb2312", "big5", "shift_jis", "euc-jp", "euc-kr"])
def test_utf8_is_read_as_utf8_against_every_claim_of_a_multi_byte_charset(language, claim):
    html = f'<meta charset="{claim}">{page(language)}'
    assert decode(html.encode(), f"text/html; charset={claim}") == html


FEW = ["caf\u00e9", "It\u2019s late", "5 \u20ac", "na\u00efve \u2013 yes", "\u4e2d", "\U0001f600"]
MULTI_BYTE = ["gbk", "gb2312", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr"]


@pytest.mark.parametrize("claim", MULTI_BYTE)
@pytest.mark.parametrize("text", FEW)
def test_a_few_characters_of_utf8_are_utf8_if_header_or_page_declares_it(text, claim):
    for meta, header in (
        (f"<meta charset={claim}>", "text/html; charset=utf-8"),
        (f"<?xml version='1.0' encoding='{claim}'?>", "text/html; charset=UTF8"),
        ("<meta charset=utf-8>", f"text/html; charset={claim}"),
    ):
        html = f"{meta}<p>{text}</p>"
        assert decode(html.encode(), header) == html
    # Some bytes that are not UTF-8 belong to no other charset for that.
    broken = f"<meta charset={claim}><p>{text * 6}".encode() + b"\xff"
    assert decode(broken + b" " * 100, "text/html; charset=utf-8").count("\ufffd") == 1


@pytest.mark.parametrize("claim", MULTI_BYTE)
@pytest.mark.parametrize("text", FEW)
def test_plain_text_declares_nothing_about_itself(text, claim):
    for declared in (f"<meta charset={claim}>", f'<?xml version="1.0" encoding="{claim}"?>'):
        assert decode(f"{declared} {text}".encode(), "", is_html=False) == f"{declared} {text}"
        page = f"<!-- {declared} --><!--><p>{text}<!-- {declared}"
        assert decode(page.encode(), "text/html") == page


@pytest.mark.parametrize(
    ("language", "charset"),
    [
        *(("pl", "iso-8859-2"), ("pl", "windows-1250"), ("tr", "iso-8859-9"), ("el", "iso-8859-7")),
        *(("ru", "koi8-r"), ("ja", "shift_jis"), ("ja", "euc-jp"), ("zh", "gbk"), ("ko", "euc-kr")),
    ],
)
@pytest.mark.parametrize("header", ["", "application/xhtml+xml", "text/html; charset=ISO-8859-1"])
@pytest.mark.parametrize(
    "declaration",
    [
        "<?xml version='1.0' encoding='{}'?>",
        '\n<?xml version="1.0"\n encoding = "{}" standalone="yes"?>\n<!DOCTYPE html>',
        '<?xml version="1.0" encoding="{}"?><meta charset=iso-8859-1>',
    ],
)
def test_the_declaration_of_xml_is_read(language, charset, header, declaration):
    text = declaration.format(charset.upper()) + f"<html><p>{NORTH[language][:40]}</p></html>"
    assert decode(text.encode(PYTHON.get(charset, charset)), header) == text


@pytest.mark.parametrize("text", ["中", "联通", "北岸", "图像", "小的"])
def test_one_or_two_characters_are_read_as_declared(text):
    html = f"<meta charset=gbk><p>harbour {text}</p>"
    assert decode(html.encode("gbk"), "text/html") == html


@pytest.mark.parametrize(
    ("language", "charset"),
    [
        *(("pl", "cp1250"), ("pl", "iso8859-2"), ("tr", "cp1254"), ("tr", "iso8859-9"), ("ja", "iso-2022-jp")),
        *(("ko", "euc-kr"), ("uk", "koi8-u"), ("el", "iso8859-7"), ("th", "tis-620")),
    ],
)
def test_a_western_header_yields_to_the_meta_tag_and_to_the_bytes(language, charset):
    html = f"<meta charset={charset}>{page(language)}"
    assert decode(html.encode(charset), "text/html; charset=ISO-8859-1") == html
    assert decode(page(language).encode(charset), "text/html; charset=ISO-8859-1") == page(language)


@pytest.mark.parametrize("text", WESTERN)
@pytest.mark.parametrize("meta", ["", "<meta charset=windows-1252>", "<meta charset=utf-8>"])
def test_a_western_header_holds_for_western_text(text, meta):
    html = f"{meta}<p>{text * 3}</p>"
    assert decode(html.encode("cp1252"), "text/html; charset=ISO-8859-1") == html


@pytest.mark.parametrize("header", ["text/html", "text/html; charset=iso-8859-1", "text/html; charset=X-Mac-Cyrillic"])
def test_the_letters_of_macintosh_are_read_as_declared(header):
    html = f"<meta charset=x-mac-cyrillic>{page('ru')}"
    assert decode(html.encode("mac-cyrillic"), header) == html


FRENCH = "<p>L’été, les bateaux étaient déjà là : on répétait « à bientôt » près du château, où l’évêque arrivait."
VIETNAMESE = (
    "<p>Ngọn hải đăng nhỏ trên bờ biển phía bắc được xây dựng từ lâu trước khi có bến cảng, và những người gác đèn."
)
TONES = "\u0300\u0301\u0303\u0309\u0323"


def with_tones_apart(text: str) -> str:
    """Vietnamese as Windows stores it: a tone is a character behind its vowel."""
    apart = (unicodedata.normalize("NFD", letter) for letter in text)
    return "".join(
        unicodedata.normalize("NFC", "".join(mark for mark in marks if mark not in TONES))
        + "".join(mark for mark in marks if mark in TONES)
        for marks in apart
    )


@pytest.mark.parametrize(
    "header", ["text/html", "text/html; charset=iso-8859-1", "text/html; charset=utf-8", "a/b; charset=x"]
)
def test_bytes_of_the_macintosh_and_of_vietnamese_windows_are_read_undeclared(header):
    assert decode(page("ru").encode("mac-cyrillic", "ignore"), header) == page("ru")
    assert decode(FRENCH.encode("mac-roman"), header) == FRENCH
    assert decode(with_tones_apart(VIETNAMESE).encode("cp1258"), header) == VIETNAMESE


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("<p>Le cœur de la sœur : l’œuvre, l’œil et le bœuf – c’était l’été, il l’a laissé là.", "cp1252"),
        ("<p>Žádný šíp neletěl, když šel přes můstek; věž byla žlutá a déšť šuměl.", "cp1250"),
        (
            "<p>Ο μικρός φάρος στη βόρεια ακτή χτίστηκε πολύ πριν από το λιμάνι, και οι φύλακές του το έγραψαν.",
            "cp1253",
        ),
    ],
)
def test_their_lookalikes_are_read_as_declared(text, charset):
    html = f"<meta charset={charset}>{text}"
    assert decode(html.encode(charset), "text/html; charset=iso-8859-1") == html


JAPANESE = "夜のうちに川の水が増え、町の人々は橋へ見に行きました。"
OF_WINDOWS = "①⑳ⅠⅩ㍉㌔㎜㈱№℡㍾∮"
"""Row 13 of JIS X 0208 as Windows fills it; JIS X 0213 took it over, so another codec of Python encodes it."""


def in_seven_bits(text: str) -> bytes:
    """ISO-2022-JP: the bytes of EUC without their high bits, between the sequences that shift."""
    return b"\x1b$B" + bytes(byte & 0x7F for byte in text.encode("euc_jis_2004")) + b"\x1b(B"


@pytest.mark.parametrize(
    ("charset", "encoded"),
    [
        ("euc-jp", (JAPANESE + OF_WINDOWS + JAPANESE).encode("euc_jis_2004")),
        ("iso-2022-jp", in_seven_bits(JAPANESE + OF_WINDOWS + JAPANESE)),
    ],
)
@pytest.mark.parametrize("statement", ["header", "meta", "none"])
def test_japanese_pages_have_the_signs_of_windows(charset, encoded, statement):
    meta = f"<meta charset={charset}>" if statement == "meta" else ""
    body = meta.encode() + b"<p>" + encoded + b"</p>"
    read = decode(body, f"text/html; charset={charset}" if statement == "header" else "text/html")
    assert read == f"{meta}<p>{JAPANESE}{OF_WINDOWS}{JAPANESE}</p>"


def test_names_that_only_windows_has_are_read_in_euc():
    # Row 92, cell 66: NEC's selection of IBM's characters.
    body = "山本と".encode("euc_jp") + b"\xfc\xe2" + "橋".encode("euc_jp")
    assert decode(body, "text/html; charset=euc-jp") == "山本と髙橋"


def test_half_width_katakana_are_read_in_seven_bits():
    assert decode(b"<p>\x1b(I6E\x1b(B</p>", "text/html; charset=iso-2022-jp") == "<p>ｶﾅ</p>"


@pytest.mark.parametrize("charset", ["euc-jp", "iso-2022-jp"])
@given(st.binary(max_size=80))
def test_any_bytes_are_read_as_japanese_or_refused(charset, body):
    try:
        decode("夜".encode(charset) * 40 + body, f"text/html; charset={charset}").encode()
    except UndecodablePageError:
        return


CANTONESE = "我哋喺香港嘅碼頭等船，佢話啲人成日都遲到，咗半個鐘頭先至開船。嗰個船長唔肯講嘢。"


@pytest.mark.parametrize("label", ["big5", "big5-hkscs", "cn-big5"])
@pytest.mark.parametrize("stated", ["header", "meta"])
def test_big5_has_the_characters_of_hong_kong_and_eten(label, stated):
    meta = f"<meta charset={label}>" if stated == "meta" else ""
    header = f"text/html; charset={label}" if stated == "header" else "text/html"
    for text, codec in ((CANTONESE, "big5hkscs"), ("夜裡河水上漲，墻上有一隻恒心的貓，碁盤銹了。", "cp950")):
        assert decode(f"{meta}<p>{text}".encode(codec), header) == f"{meta}<p>{text}"


@pytest.mark.parametrize("label", ["tis-620", "windows-874", "iso-8859-11"])
def test_thai_has_the_quotes_of_windows(label):
    text = "<p>“เรือข้ามฟาก” ออกจากท่าทุกเช้า – เวลาหกโมง…"
    assert decode(text.encode("cp874"), f"text/html; charset={label}") == text
