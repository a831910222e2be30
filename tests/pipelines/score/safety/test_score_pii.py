"""Personal data and secrets: required findings, and texts that must stay, kind by kind."""

import random
import re
import string
from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.score.safety import secrets
from pipelines.score.safety.pii import find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import layout

REGIONS = ["US", "GB", "DE", "FR", "ES"]
LETTERS = random.Random(7)


def token(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Assembled here, so that no file holds a string that looks like somebody's key."""
    return "".join(LETTERS.choices(alphabet, k=length))


PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}\n{1}\n-----END {0}PRIVATE KEY-----"
JWT_HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
TRUE = {
    "email": [
        "jane.doe@gmail.com",
        "j+news@mail.uni-koeln.de",
        "o'neil_7@sub.domain.co.uk",
        "UPPER@HOST.ORG",
        "jürgen.groß@nordhafen.de",
        "info@müller-hafen.de",
        "почта@пример.рф",
    ],
    "ip": ["93.184.216.34", "8.8.14.42", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001:81b::200e"],
    "phone": [
        "+49 431 5362267",
        "+1 (212) 555-2368",
        "+44 20 7946 0018",
        "Tel.: 0341 696290",
        "Telefon 07 11/97 81-0",
        "(212) 736-5000",
        "Call us: 212-736-5000",
        "fax 01 42 68 53 00",
        "0049 30 901820",
        "001 415 867 5309",
    ],
    "iban": [
        "DE89 3704 0044 0532 0130 00",
        "GB82WEST12345698765432",
        "FR14 2004 1010 0505 0001 3M02 606",
        "nl91 abna 0417 1643 00",
        "DE89-3704-0044-0532-0130-00",
    ],
    "card": ["4539 1488 0343 6467", "5425-2334-3010-9903", "3782 822463 10005"],
    "secret": [
        f"https://hooks.slack.com/services/T{token(9, string.digits)}/B{token(9, string.digits)}/{token(24)}"[8:],
        f"SG.{token(22)}.{token(43)}",
        "SK" + token(32, "0123456789abcdef"),
        "pypi-AgEI" + token(80),
        f"{token(9, string.digits)}:AA{token(33)}",
        f"AccountKey={token(86)}==",
        "dapi" + token(32, "0123456789abcdef"),
        "AKIA" + token(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        "ghp_" + token(36),
        "github_pat_" + token(22) + "_" + token(59),
        "glpat-" + token(20),
        "xoxb-" + token(12, string.digits) + "-" + token(24),
        "AIza" + token(35),
        "sk_live_" + token(24),
        "sk-proj-" + token(40) + "T3BlbkFJ" + token(40),
        "npm_" + token(36),
        f"{JWT_HEADER}.eyJ{token(30)}.{token(43)}",
        PEM.format("RSA ", token(64)),
        PEM.format("", token(64)),
    ],
}
FALSE = {
    "email": [
        "user@example.com",
        "git@github.com:a/b",
        "logo@2x.png",
        "@decorator",
        "a @ b",
        "x@localhost",
        "@user.name",
    ],
    "ip": [
        "192.168.1.10",
        "10.0.0.1",
        "127.0.0.1",
        "1.2.3.4",
        "version 12.34.56.78",
        'openjdk version "17.0.4.1"',
        "see section 12.11.10.22",
        "224.0.0.0/24",
        "v10.20.30.40",
        "999.10.10.10",
        "1.22.333.44.5",
        "std::vector",
        "fe80::1",
        "::1",
        "12:30:45",
        "a::b",
        "2001:db8::1",
    ],
    "phone": [
        "2019-2020",
        "12.03.2019 14:30",
        "2024-05-17",
        "ISBN 978-3-16-148410-0",
        "1234567",
        "3.14159265358979",
        "1,234,567,890",
        "$1234567890",
        "0x12345678",
        "order 4711-0815-42",
        "99 100 101 102 103",
        "+1 000 000 0000",
        "pi = 31415926535",
    ],
    "card": [
        "4111 1111 1111 1111",
        "4539 1488 0343 6468",
        "4539148803436467",
        "1234 5678 9012 3456",
        "9876 5432 1098 7654",
    ],
    "national_id": [
        "536-90-4399",
        "SSN: 000-12-3456",
        "ssn 536-90-43991",
        "CPF 123.456.789-00",
        "order number 86095742719",
    ],
    "iban": [
        "de89 3704 0044 0532 0130 01",
        "DE89 3704 0044 0532 0130 01",
        "GB82WEST1234569876543",
        "AB12 3456 7890 1234",
        "ISO 13616 2007 2020 1997",
    ],
    "secret": [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "x" * 36,
        "sk_test_" + token(24),
        "task-list-of-the-week-and-more",
        "eyJhbGciOi",
        f"eyJ{token(30)}.eyJ{token(30)}.{token(43)}",
        "-----BEGIN PUBLIC KEY-----\n" + token(64) + "\n-----END PUBLIC KEY-----",
        token(40),
        "https://example.org/a/very/long/path/that/says/nothing",
    ],
}


def found(text: str) -> list[tuple[str, str]]:
    characters = Characters(text)
    findings = find_pii(characters, layout(characters.codes), REGIONS)
    return [(finding.kind, text[finding.start : finding.end]) for finding in findings]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, cases in TRUE.items() for text in cases])
def test_it_is_found_and_nothing_else(kind, text):
    said = f"Words before {text}, and words after. Nothing else here."
    assert [name for name, _ in found(said)] == [kind]
    spot = found(said)[0][1]
    assert spot in text and (kind == "phone" or spot == text)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, cases in FALSE.items() for text in cases])
def test_it_stays(kind, text):
    assert kind not in [name for name, _ in found(f"Words before {text} and words after.")]


@pytest.mark.parametrize(
    ("before", "number"),
    [
        ("SSN: ", "536-90-4399"),
        ("Steuer-ID ", "36574261809"),
        ("Codice fiscale: ", "RCCMNL83S18D969H"),
        ("DNI: ", "54362315K"),
        ("PESEL ", "44051401359"),
        ("CPF: ", "390.533.447-05"),
        ("身份证号码：", "11010519491231002X"),
    ],
)
def test_numbers_of_persons_are_found_behind_their_word(before, number):
    assert found(f"Words {before}{number}, and words after.") == [("national_id", number)]


def test_a_card_in_one_run_needs_its_word():
    assert found("Visa 4539148803436467 expires soon") == [("card", "4539148803436467")]


def test_an_address_ends_where_chinese_begins():
    assert found("联系邮箱kim.roe@nordhafen.cn谢谢") == [("email", "kim.roe@nordhafen.cn")]


def test_a_secret_key_of_aws_is_found_by_its_name():
    key = token(40)
    assert found(f'aws_secret_access_key = "{key}"') == [("secret", key)]
    assert found('aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"') == []


def test_two_numbers_with_a_slash_between_are_two():
    assert [kind for kind, _ in found("Call 0049 30 901820 / 001 415 867 5309")] == ["phone", "phone"]


def test_national_numbers_need_their_region():
    text = "Tel.: 0341 696290"
    characters = Characters(text)
    assert find_pii(characters, layout(characters.codes), []) == []
    assert find_pii(characters, layout(characters.codes), ["US"]) == []
    assert find_pii(characters, layout(characters.codes), ["DE"]) == [(6, 17, "phone")]


def test_several_stand_in_the_order_of_the_text():
    text = "Write to jane@gmail.com or +49 431 5362267; the server is 93.184.216.34, mine joe@web.de."
    assert found(text) == [
        ("email", "jane@gmail.com"),
        ("phone", "+49 431 5362267"),
        ("ip", "93.184.216.34"),
        ("email", "joe@web.de"),
    ]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("@.:/+-() 0123456789abcDE\n") | st.characters(), max_size=80))
def test_every_text_has_findings_inside_it(text):
    characters = Characters(text)
    for finding in find_pii(characters, layout(characters.codes), REGIONS):
        assert 0 <= finding.start < finding.end <= len(text)


PATTERNS = {name: value for name, value in vars(secrets).items() if isinstance(value, re.Pattern)}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_a_text_of_beginnings_is_read_once(pattern):
    """A repetition without an upper limit is the last part of its form: otherwise each beginning of a secret in a run
    of them would be followed to the end of the run."""
    unlimited = list(_endless_within(re._parser.parse(pattern.pattern, pattern.flags)))
    assert unlimited == []


def _endless_within(parts) -> Iterator[object]:
    """Repetitions without an upper limit that something else must follow."""
    parts = list(parts)
    for index, (kind, value) in enumerate(parts):
        name = str(kind)
        behind = [str(each) for each, _ in parts[index + 1 :]]
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            if str(value[1]) == "MAXREPEAT" and any(not each.startswith(("ASSERT", "AT")) for each in behind):
                yield value
            yield from _endless_within(value[2])
        elif name == "SUBPATTERN":
            yield from _endless_within(value[3])
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _endless_within(branch)


@pytest.mark.parametrize(
    ("text", "kind", "spot"),
    [
        ("IP地址是91.198.174.192的", "ip", "91.198.174.192"),
        ("地址2a00:1450:4001:81b::200e的", "ip", "2a00:1450:4001:81b::200e"),
        ("the prefix 2a02:2e0:3fe:1001:302:: is ours", "ip", "2a02:2e0:3fe:1001:302::"),
        ("at 2a00:1450:4001:81b::200e: nothing", "ip", "2a00:1450:4001:81b::200e"),
        ("身份证号11010519491231002X的", "national_id", "11010519491231002X"),
        ("电话+86 138 0013 8000吧", "phone", "+86 138 0013 8000"),
        ("卡号４５３９ １４８８ ０３４３ ６４６７です", "card", "４５３９ １４８８ ０３４３ ６４６７"),
        ("4539–1488–0343–6467", "card", "4539–1488–0343–6467"),
        ("4539.1488.0343.6467", "card", "4539.1488.0343.6467"),
        ("4539148803436467 (Visa)", "card", "4539148803436467"),
    ],
)
def test_numbers_are_found_beside_letters_of_chinese_and_in_other_spellings(text, kind, spot):
    assert found(text) == [(kind, spot)]


@pytest.mark.parametrize(
    "text",
    [
        "9.81.12.13 in the table 4.5",
        "see 12.11.10.22 of section 7",
        "4539.1488.0343.6468",
        "4539–1488.0343–6467",
        "3d::vector and 2abc::name",
        "the ratio of 2000:: to one",
        "ｖ９３.184.216.34",
        "SIN 123 456 783",
        "singing 123456782",
    ],
)
def test_their_lookalikes_stay(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("ca.sin", "SIN: 123 456 782"),
        ("ch.ssn", "AVS 756.9217.0769.85"),
        ("mx.curp", "CURP: BOXW310820HNERXN09"),
        ("ie.pps", "PPS number 6433435F"),
        ("fi.hetu", "hetu 131052-308T"),
        ("dk.cpr", "CPR-nr. 211062-5629"),
        ("no.fodselsnummer", "fødselsnummer 15108695088"),
        ("cz.rc", "rodné číslo 710319/2745"),
        ("bg.egn", "EGN 7523169263"),
        ("ru.inn", "ИНН 500100732259"),
        ("ro.cnp", "CNP 1630615123457"),
        ("tr.tckimlik", "TC kimlik no 17291716060"),
    ],
)
def test_numbers_of_persons_of_more_countries_are_found_by_their_check_digits(module, said):
    number = said[re.search(r"[ :]((?=\S{0,3}\d)|(?=BOXW))", said).end() :].strip()
    assert import_module(f"stdnum.{module}").is_valid(number)
    assert found(f"Words {said}, and words after.") == [("national_id", number)]
    wrong = number.translate(str.maketrans("0123456789", "1032547698"))
    assert import_module(f"stdnum.{module}").is_valid(wrong) or ("national_id", wrong) not in found(
        f"Words {said.replace(number, wrong)}, and words after."
    )
