"""Check digits of national identity numbers that python-stdnum has not, each after the rule its country publishes.

The numbers come without separators, in capitals.
"""

import re
from collections.abc import Iterable
from operator import mul

_ROMAN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]")
_TAIWAN = "ABCDEFGHJKLMNPQRSTUVXYWZIO"
"""Letters of the places of registration, from 10 on."""
_SINGAPORE = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK"), "G": (4, "XWUTRQPNMLK")} | {
    "M": (3, "XWUTRQPNJLK")
}


def gb_nino(number: str) -> bool:
    """National Insurance: no check digit, but prefixes that are never given (HMRC, NIM39110)."""
    return _NINO.fullmatch(number) is not None


def ru_snils(number: str) -> bool:
    """Pension fund of Russia: two check digits, above 001-001-998."""
    return int(number[:9]) > 1_001_998 and _weighted(number[:9], range(9, 0, -1)) % 101 % 100 == int(number[9:])


def hk_hkid(number: str) -> bool:
    """Hong Kong identity card: one or two letters, six digits, 0 to 9 or A for 10."""
    values = [36 if mark == " " else int(mark, 36) for mark in number.rjust(9)]
    return values[8] <= 10 and sum(map(mul, values, range(9, 0, -1))) % 11 == 0


def sg_nric(number: str) -> bool:
    """Singapore: NRIC and FIN."""
    offset, letters = _SINGAPORE.get(number[0], (0, "-" * 11))
    return letters[(offset + _weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2))) % 11] == number[8]


def jp_my_number(number: str) -> bool:
    """Individual Number: order 85 of the Ministry of Internal Affairs, 2014, article 5."""
    rest = _weighted(number[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return int(number[11]) == (11 - rest if rest > 1 else 0)


def kr_rrn(number: str) -> bool:
    """Resident registration of Korea: a date of birth and the sex with the century. Since October 2020 the rest is
    drawn, without a check digit."""
    return re.fullmatch(r"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[1-8]\d{6}", number) is not None


def tw_id(number: str) -> bool:
    """National identification card: a letter, the sex or a kind of resident, eight digits."""
    place = str(10 + _TAIWAN.index(number[0]))
    return number[1] in "1289" and _weighted(place + number[1:], (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)) % 10 == 0


def de_svnr(number: str) -> bool:
    """Pension insurance: VKVV, section 4."""
    letter = f"{_ROMAN.index(number[8]) + 1:02d}"
    digits = number[:8] + letter + number[9:11]
    products = map(mul, map(int, digits), (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1))
    return sum(sum(divmod(product, 10)) for product in products) % 10 == int(number[11])


def hu_taj(number: str) -> bool:
    """Social insurance of Hungary: act XX of 1996."""
    return _weighted(number[:8], (3, 7) * 4) % 10 == int(number[8])


def hu_tax(number: str) -> bool:
    """Tax identification of a person in Hungary: act XX of 1996."""
    return number[0] == "8" and _weighted(number[:9], range(1, 10)) % 11 == int(number[9])


def kz_iin(number: str) -> bool:
    """Individual identification number of Kazakhstan: a second row of weights if the first gives 10."""
    first, second = (_weighted(number[:11], weights) % 11 for weights in (range(1, 12), (*range(3, 12), 1, 2)))
    return int(number[11]) == (second if first == 10 else first)


def ir_code(number: str) -> bool:
    """National code of Iran."""
    rest = _weighted(number[:9], range(10, 1, -1)) % 11
    return len(set(number)) > 1 and int(number[9]) == (rest if rest < 2 else 11 - rest)


def sa_id(number: str) -> bool:
    """Citizens and residents of Saudi Arabia."""
    from stdnum import luhn

    return number[0] in "12" and bool(luhn.is_valid(number))


def ae_id(number: str) -> bool:
    """Emirates ID: the number of the country in ISO 3166 begins it."""
    from stdnum import luhn

    return number.startswith("784") and bool(luhn.is_valid(number))


def _weighted(digits: str, weights: Iterable[int]) -> int:
    return sum(map(mul, map(int, digits), weights))
