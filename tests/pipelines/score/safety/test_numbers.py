"""Telephone numbers and addresses in every script's digits, and counts, years and versions beside the same words."""

import sys
import unicodedata

import pytest

from pipelines.score.safety.pii import find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import layout

REGIONS = ["US", "GB", "DE", "FR", "ES"]
ZEROS = [chr(code) for code in range(sys.maxunicode) if unicodedata.decimal(chr(code), None) == 0]
"""The digit zero of each script; the other nine follow it."""
NUMBERS = {
    "phone": [
        *("+49 431 5362267", "+1 (212) 555-2368", "Tel.: 0341 696290", "(212) 736-5000", "0049 30 901820"),
        *("call 2127365000", "cell 212-736-5000", "mobile: 07911 123456", "phone 020 7946 0018", "Tel 912 345 678"),
        *("móvil 612345678", "fax 01 42 68 53 00", "Handy 0171 2345678", "hotline: 0800 330 1000", "sms 612 34 56 78"),
        *("电话：13800138000", "電話：03-3224-9999", "전화 02-2133-5678", "тел. 8 (495) 697-40-00"),
        *("тел. (495) 697-40-00", "तार फ़ोन 011-23010231", "मोबाइल 98765 43210", "โทร 02-218-2000"),
        *("هاتف: 01012345678", "جوال 0501234567", "تلفن 02188776655", "موبایل 09121234567", "טלפון 03-5551234"),
        *("τηλ 210 3387000", "điện thoại 024 3825 2525", "telefone (11) 3091-3222", "celular (11) 96123-4567"),
        *("puh. 09 310 1691", "telefoon 020 624 1111", "mobiel 06 12345678"),
        *(
            "Tel: +33 1 42 68 53 00",
            "call me at (415) 867-5309",
            "Tel Aviv office: +972 3 555 1234",
            "call +44 20 7946 0018 now",
            "WhatsApp +55 11 96123-4567",
        ),
    ],
    "ip": [
        *(
            "93.184.216.34",
            "from 8.8.14.42",
            "host 1.1.1.12",
            "the address 4.2.2.19",
            "http://5.9.2.77/a",
            "ping 8.8.4.42",
        ),
        *("root@9.9.9.11", "server: 2.2.2.34", "91.198.174.192", "IP地址是1.2.4.18的", "dns 8.8.4.41", "inet 3.3.3.33"),
    ],
    "card": ["4539 1488 0343 6467", "card 4539148803436467"],
    "iban": ["DE89 3704 0044 0532 0130 00", "FR14 2004 1010 0505 0001 3M02 606"],
    "national_id": ["SSN: 536-90-4399", "PESEL 44051401359", "CPF: 390.533.447-05", "NINO: AB123456C"],
}
COUNTS = [
    *("cell 100000000 rows", "call 200000000 times", "mobile 912000000 of them", "a cell of 123456789 atoms"),
    *("call 12345678 failed", "each cell 340 000 000 bytes", "sms 450 000 000 sent", "mobile users: 380000000"),
    *("handy 23456789 mal", "fax 77777777 pages", "cell A1 is 3000000000", "hotline 365 24 7 2012"),
    *("Tel Aviv 2011 2012", "Tel Aviv 1998-1999, 2001", "Tel Aviv 2011/2012", "call for papers 2019 2020"),
    *("Mobile World Congress 2014 2015 2016", "Cell Biology 1999 2001", "call 1989 1990 1991", "Telefon 2019–2020"),
    *("cell 2011-12-31 10:20", "mobile 10.12.2020 11:12", "тел 2011 2012", "电话 2011-2012", "هاتف ٢٠١١ ٢٠١٢"),
    *("تلفن ۲۰۱۱-۲۰۱۲", "cell 3 4 5 6 7 8 9", "call 0x1234567", "handy 3.14159265", "mobile-1234567-a"),
    *("openssl 1.1.1.12", "nginx 1.2.3.40", "3.2.1.12 Scope of the work", "Oracle 11.2.0.4", "java 1.8.0.252"),
    *("libfoo-2.0.1.15", "mysql 5.7.3.10", "2.4.6.80 General", "iOS 9.3.5.13", "clause 7 1.2.1.10", "v93.184.216.34"),
    *("ｖ93.184.216.34", "firmware 93.184.216.34", "driver 27.20.100.93", "revision 12.10.11.14", "1.2.3.4"),
    *("SDK 30.12.11.10", "patch 11.12.13.14", "１.２.３.４", "version 12.34.56.78", "192.168.1.10", "10.0.0.12"),
    *("card 4539 1488 0343 6468", "IBAN DE89 3704 0044 0532 0130 01", "SSN 000-12-3456", "PESEL 44051401358"),
    *("٢٠١٩-٢٠٢٠", "१२३४५६७", "१२.०३.२०१९ १४:३०", "๒๕๖๒ ๒๕๖๓ ๒๕๖๔", "１２３４５６７", "۱۴۰۲/۰۵/۱۲"),
]


def found(text: str) -> list[tuple[str, str]]:
    characters = Characters(text)
    findings = find_pii(characters, layout(characters.codes), REGIONS)
    return [(finding.kind, text[finding.start : finding.end]) for finding in findings]


@pytest.mark.parametrize(("kind", "named"), [(kind, text) for kind, texts in NUMBERS.items() for text in texts])
def test_a_number_is_found_in_the_digits_of_every_script(kind, named):
    ((name, spot),) = found(f"Words: {named}, and words after.")
    assert name == kind and named.count(spot) == 1 and spot in named
    for zero in ZEROS:
        digits = str.maketrans({str(value): chr(ord(zero) + value) for value in range(10)})
        assert found(f"Words: {named.translate(digits)}, and words after.") == [(kind, spot.translate(digits))]


@pytest.mark.parametrize("text", COUNTS)
def test_a_count_a_year_and_a_version_stay(text):
    assert found(f"The {text} and words after.") == []


@pytest.mark.parametrize(
    "number", ["（０３）３２２４－９９９９", "０３－３２２４－９９９９", "＋８１　３　３２２４　９９９９"]
)
def test_a_number_is_found_between_full_width_marks(number):
    assert found(f"ＴＥＬ：{number}。") == [("phone", number)]
