"""Personal data: recall and precision on 200 texts that are drawn here, against datatrove's PIIFormatter.

120 texts have one item each: addresses, phone numbers of 20 countries (phonenumbers' examples), IBANs, cards and
identity numbers with right check digits, public IP addresses, keys in their makers' forms. 80 have none, and look like
it: numbers with wrong check digits, versions, dates, prices, private and reserved addresses, digests, code.
"""

import random
import string
from collections.abc import Callable, Iterator

import phonenumbers
from datatrove.data import Document
from datatrove.pipeline.formatters import PIIFormatter
from harness import arguments, machine, report
from stdnum import iban, luhn

from pipelines.score.safety.pii import find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import layout

REGIONS = ("US", "GB", "DE", "FR", "ES")
COUNTRIES = (*REGIONS, "IT", "NL", "PL", "SE", "BR", "IN", "JP", "KR", "AU", "MX", "TR", "ZA", "UA", "CH", "AT")
SENTENCES = ("Please use {}, thank you.", "Kontakt: {} (Büro)", "The value {} stands in the form", "{} — voir plus bas")
GOAL = "recall >= 0.92, precision >= 0.97"
DIGITS, ALNUM, HEX = string.digits, string.ascii_letters + string.digits, "0123456789abcdef"


def main() -> None:
    arguments(__doc__.splitlines()[0])
    draw = random.Random("personal data")
    texts = [(draw.choice(SENTENCES).format(item), item) for item in first_of(positives(draw), 120)]
    texts += [(draw.choice(SENTENCES).format(item), None) for item in first_of(negatives(draw), 80)]
    formatter = PIIFormatter()
    contenders: dict[str, Callable[[str, str | None], bool]] = {
        "ours": ours,
        "datatrove PIIFormatter": lambda text, _: changed(formatter, text),
    }
    print("| | recall | false alarms | precision |\n|---|---|---|---|")
    figures = {}
    for name, finds in contenders.items():
        right = sum(finds(text, item) for text, item in texts if item)
        wrong = [text for text, item in texts if item is None and finds(text, None)]
        recall, precision = right / 120, right / max(1, right + len(wrong))
        figures[name] = recall
        print(f"| {name} | {recall:.3f} | {len(wrong)}/80 | {precision:.3f} |")
    print(machine("datatrove", "phonenumbers", "python-stdnum"))
    peer = figures["datatrove PIIFormatter"]
    report("pii", figures["ours"], {"datatrove PIIFormatter": peer}, "recall", figures["ours"] / peer, GOAL)


def ours(text: str, item: str | None) -> bool:
    """Whether the item, without its preceding word, is found; or anything in a text without one."""
    characters = Characters(text)
    result = [text[each.start : each.end] for each in find_pii(characters, layout(characters.codes), REGIONS)]
    return any(spot in item and len(spot) >= 7 for spot in result) if item else bool(result)


def changed(formatter: PIIFormatter, text: str) -> bool:
    return bool(formatter.format(Document(text, "0").text) != text)


def first_of(items: Iterator[str], count: int) -> list[str]:
    return [next(items) for _ in range(count)]


def positives(draw: random.Random) -> Iterator[str]:
    def some(letters: str, size: int) -> str:
        return "".join(draw.choices(letters, k=size))

    names = ("mara.voss", "j_okafor", "lea-b", "søren.holm", "x9", "anna.maría", "t.o'brien", "kontakt")
    hosts = ("hafenamt.de", "mail.nordlicht.io", "k-werk.co.uk", "größe-bau.at", "post.cz", "smp.edu.pl")
    while True:
        yield f"{draw.choice(names)}@{draw.choice(hosts)}"
        yield phone(draw.choice(COUNTRIES), draw)
        yield phone(draw.choice(COUNTRIES), draw)
        yield account(draw, some)
        yield card(draw, some)
        yield f"{draw.randint(11, 99)}.{draw.randint(1, 254)}.{draw.randint(1, 254)}.{draw.randint(110, 254)}"
        yield (
            draw.choice(("SSN", "Social Security number"))
            + f": {draw.randint(100, 665)}-{draw.randint(11, 99)}-{draw.randint(1001, 9999)}"
        )
        yield draw.choice(("ghp_" + some(ALNUM, 36), "AKIA" + some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)))
        yield draw.choice(("hf_" + some(string.ascii_letters, 34), f"SG.{some(ALNUM, 22)}.{some(ALNUM, 43)}"))
        yield f'AWS_SECRET_ACCESS_KEY="{some(ALNUM, 40)}"'


def phone(country: str, draw: random.Random) -> str:
    number = phonenumbers.example_number_for_type(country, draw.choice((0, 1)))
    text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return draw.choice((text, text.replace("+", "00", 1)))


def account(draw: random.Random, some: Callable[[str, int], str]) -> str:
    country, size = draw.choice((("DE", 18), ("AT", 16), ("ES", 20)))
    digits = iban.calc_check_digits(f"{country}00{some(DIGITS, size)}")
    whole = f"{country}{digits}{some(DIGITS, size)}"
    while not iban.is_valid(whole):
        body = some(DIGITS, size)
        whole = f"{country}{iban.calc_check_digits(f'{country}00{body}')}{body}"
    return draw.choice((whole, " ".join(whole[at : at + 4] for at in range(0, len(whole), 4)), whole.lower()))


def card(draw: random.Random, some: Callable[[str, int], str]) -> str:
    body = draw.choice(("4", "51", "55", "6011", "35" + "30")) + some(DIGITS, 14)
    whole = body[:15] + luhn.calc_check_digit(body[:15])
    spaced = " ".join(whole[at : at + 4] for at in range(0, 16, 4))
    return draw.choice((spaced, spaced.replace(" ", "-"), f"card {whole}"))


def negatives(draw: random.Random) -> Iterator[str]:
    def some(letters: str, size: int) -> str:
        return "".join(draw.choices(letters, k=size))

    while True:
        yield f"10.{draw.randint(0, 254)}.{draw.randint(0, 254)}.7"
        yield f"version {draw.randint(10, 99)}.{draw.randint(10, 99)}.{draw.randint(10, 99)}.{draw.randint(10, 99)}"
        yield f"{draw.randint(1950, 2026)}-{draw.randint(10, 12)}-{draw.randint(10, 28)}"
        yield f"{some(HEX, 40)}"
        yield f"${draw.randint(10**6, 10**9):,}"
        yield f"user{draw.randint(1, 99)}@example.org"
        yield f"item {draw.randint(1000, 9999)}-{draw.randint(1000, 9999)}-{draw.randint(10, 99)}"
        yield f"icon@{draw.randint(2, 3)}x.png"
        yield f"DE{draw.randint(10, 99)} 1234 5678 9012 3456 7{draw.randint(0, 9)}"
        yield f"{some('123456789', 1)}.{some(DIGITS, 14)}"
        yield f"ISBN 978-{draw.randint(0, 9)}-{draw.randint(100, 999)}-{draw.randint(10000, 99999)}-1"
        yield f"224.0.{draw.randint(0, 254)}.{draw.randint(1, 254)}"
        yield f"{some(DIGITS, 16)}"
        yield f"@decorator_{draw.randint(1, 99)}"
        yield f"pages {draw.randint(100, 200)}-{draw.randint(201, 300)}"
        yield f"ghp_{'x' * 36}"


if __name__ == "__main__":
    main()
