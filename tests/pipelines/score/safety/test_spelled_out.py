"""Mail addresses that are spelled out, numbers of persons of many countries and telephone numbers, beside texts that
only look like them."""

import pytest

from pipelines.score.safety import check_digits
from pipelines.score.safety.pii import find_pii
from pipelines.score.text.characters import Characters
from pipelines.score.text.layout import layout

REGIONS = ["US", "GB", "DE", "FR", "ES"]
MAILBOXES = [
    *("jane [at] nordhafen [dot] de", "jane(at)nordhafen(dot)de", "jane (at) nordhafen.de"),
    *("jane.roe[at]nordhafen.de", "jane AT nordhafen DOT de", "jane dot roe at gmail dot com"),
    *("jane_roe at nordhafen dot org", "jane {at} nordhafen {dot} org", "jane <at> nordhafen.org"),
    *("jane.roe -at- nordhafen -dot- de", "jane_at_nordhafen_dot_de", "jane @ nordhafen.de"),
    *("jane.roe@ nordhafen.de", "jane[@]nordhafen.de", "jane [ät] nordhafen [punkt] de"),
    *("jane (arroba) nordhafen (punto) es", "jane(собака)nordhafen.ru", "jane(a)nordhafen.fi"),
    *("jane%40nordhafen.de", "jane&#64;nordhafen.de", "jane＠nordhafen.de", "jane.roe@nordhafen[.]de"),
    *("jane@nordhafen(dot)de", "{jane,joe}@nordhafen.de", '"jane roe"@nordhafen.de', "δοκιμή@παράδειγμα.ελ"),
    *("ישראל@nordhafen.co.il", "राम@nordhafen.in", "jane&joe@nordhafen.de"),
    *("jane[dot]roe[at]mail[dot]nordhafen[dot]co[dot]uk", "jane AT nordhafen.de"),
    *("Jane.Roe (at) Nordhafen (dot) DE", "jane-at-nordhafen-dot-de", "JANE [AT] NORDHAFEN [DOT] DE"),
    *("jane（at）nordhafen.cn", "jane\\@nordhafen.de", "jane[a]nordhafen.fi", "jane (at) nordhafen (.) de"),
    *("jane (@) nordhafen.de", "jane [ at ] nordhafen [ dot ] de", "jane[AT]nordhafen.de"),
    *("jane*at*nordhafen.de", "jane 'at' nordhafen 'dot' de", 'jane "at" nordhafen.de'),
    *("jane|at|nordhafen|dot|de", "jane(AT)gmail.com"),
]
NO_MAILBOXES = [
    *("meet at noon dot com bubble", "look at amazon dot com", "the dot com boom at its peak"),
    *("LOOK AT AMAZON.COM NOW", "shop @ store.com", "x @ self.weight", "grad @ layer.to(device)", "a @ b.T"),
    *("q @ k.mT", "price @ 3.50", "section 3(a) of law.it", "stay-at-home.com", "visit us at nordhafen.de"),
    *("find it at www.nordhafen.de", "We are at nordhafen dot de now", "npm i @angular/core@17.0.2"),
    *("size (at) 12.4 mm", "function(a).map(b)", "f(a).to(b)", "f(a)node.js", "y = f(a) x.is"),
    *("(a) gov.uk pages", "the look AT the.end", "https://medium.com/@jane.roe", "@jane.roe", "users@"),
    *("foo@bar", "logo@2x.png", "100%40test", "path%40v1.2.3", "github.com/a/b@v1.2"),
    *("docker pull redis@sha256:ab", "git@github.com:x/y", "text@", "mail @ the office", "@ 5 p.m.", "a&b@c"),
    *("look at it.It was", "photos taken at st.ives", "the meeting (at) noon", "clause (a)(b) and (c)"),
    *("{user}@nordhafen", "arrays[a].at(b)", "f[a]it.x", "fi(a)do.it()", "live @ wembley.", "gig @ the.dome"),
    "$a @ $b.in",
]
IDENTITY_NUMBERS = [
    *("national insurance number AB 12 34 56 C", "NINO: AB123456C", "NI number: JG103759A"),
    *("СНИЛС 112-233-445 95", "HKID: G123456(A)", "香港身份證號碼 A123456(3)", "NRIC S1234567D", "FIN: F1234567N"),
    *("マイナンバー 1234 5678 9018", "個人番号：123456789018", "NIF 123456789", "contribuinte n.º 501 964 843"),
    *("PAN: ABCPE1234F", "PAN card number AAPPV8261K", "Aadhaar No. 2341 2341 2346", "CPF 390.533.447-05"),
    *("390.533.447-05", "o CPF nº 39053344705", "DNI 54362315-K", "NIE X-2482300W", "BSN: 111222333"),
    *("Burgerservicenummer 1112.22.333", "PESEL: 44051401359", "Steuer-ID: 36 574 261 809"),
    *("Steueridentifikationsnummer 36574261809", "Codice Fiscale RCCMNL83S18D969H", "RCCMNL83S18D969H"),
    *("codice fiscale: rccmnl83s18d969h", "SSN 536-90-4399", "536-90-4399 (SSN)", "SSN\n536-90-4399"),
    *("SIN: 130-692-544", "TFN: 123 456 782", "IRD number 49-091-850", "PPSN 6433435F"),
    *("身份证号码 110105 19491231 002X", "11010519491231002X", "身分證字號 A123456789", "주민등록번호 920321-1234567"),
    *("เลขประจำตัวประชาชน 1-2345-45678-78-1", "MyKad 770305-02-1234", "CURP BOXW310820HNERXN09"),
    *("RUT 12.531.909-2", "CUIL 20-05536168-2", "cédula 171430710-3", "RSA ID 7503305044089"),
    *("TC Kimlik No: 17291716060", "ИНН 500100732259", "ІПН 1759013776", "ИИН 850101300124", "ЕГН 7523169263"),
    *("CNP: 1630615123457", "OIB 33392005961", "JMBG 0101006500006", "rodné číslo: 710319/2745"),
    *("TAJ: 123 456 788", "adóazonosító jel 8071592153", "asmens kodas 33309240064"),
    *("personas kods 161175-19997", "isikukood 36805280109", "AMKA 01013099997", "kennitala 450401-3150"),
    *("hetu 131052-308T", "CPR-nummer 211062-5629", "fødselsnummer 151086 95088", "personnummer 880320-0016"),
    *("Rijksregisternummer 85.07.30-033 28", "AHV-Nr. 756.9217.0769.85", "SV-Nummer 1237 010180"),
    *("Rentenversicherungsnummer 15 070649 C 103", "NIR 2 95 10 99 126 111 93"),
    *("numéro de sécurité sociale : 295109912611193", "teudat zehut 039337423", "کد ملی 0499370899"),
    *("Voter ID WKH1186253", "NHS no 943 476 5919", "my social security number is 536904399", "UTR 1955839661"),
    *("ΑΦΜ 094259216", "KTP 3171011708450001"),
]
"""Examples that the countries publish, and others with right check digits."""
PHONES = [
    *("1-800-225-5288", "1-800-FLOWERS", "1-800-GO-FEDEX", "1 (800) FLOWERS", "+1-800-MY-APPLE"),
    *("call 800-FLOWERS", "1-888-NEW-LIFE", "1-877-KARS-4-KIDS", "1 800 275 2273", "1-212-736-5000"),
    *("1 (212) 736-5000", "電話：03-3224-9999", "电话：13800138000", "手机 138-0013-8000", "전화 02-2133-5678"),
    *("тел. 8 (495) 697-40-00", "Телефон: 8-800-555-35-35", "τηλ 210 3387000", "โทร 02-218-2000"),
    *("फ़ोन 011-23010231", "telefone (11) 3091-3222", "puh. 09 310 1691", "tel. 0341 696290"),
    *("1-866-DHS-2-ICE", "+1 800 LAWYERS"),
]
NO_PHONES = [
    *("1-800-SERIES", "800-PREMIUM seats", "model 1-800-A", "1-800", "8-800-555", "on 1-844-12", "1 800 m"),
    *("1 800 HOURS", "1 800 ROWS OF CORN", "1 888 METERS HIGH ABOVE", "1 800 STUDENTS", "1 833 EUROS"),
    *("电话会议 2023-2024", "手机 iPhone 13 128", "телефон 2105 2106", "call 12 34", "тел 2022 2023 2024"),
    "電話会議 10:30-11:30",
]
NUMBERS_OF_THINGS = [
    *("order no. 1104-8837-229 shipped", "ISBN 978-0-306-40615-7", "ISBN-10 0-19-853453-1", "ISSN 2049-3630"),
    *("EAN 4006381333931", "UPC 036000291452", "GTIN 00012345600012", "DOI 10.1000/182", "arXiv:2101.00001v2"),
    *("PMID 31452104", "version 3.11.4.2", "numpy==1.26.4", "build 20240317.5", "kernel 6.8.0-31-generic"),
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    *("md5 d41d8cd98f00b204e9800998ecf8427e", "UUID 123e4567-e89b-12d3-a456-426614174000"),
    *("MAC 00:1A:2B:3C:4D:5E", "lat 52.520008, lon 13.404954", "48°51'29.6\"N 2°17'40.2\"E"),
    *("47.6062095,-122.3320708", "geo:37.786971,-122.399677", "EPSG:25832 389912.5 5819697.1"),
    *("tracking 1Z999AA10123456784", "VIN 1HGCM82633A004352", "IMEI 356938035643809"),
    *("flight LH 2475 at 10:30", "train ICE 1537, coach 12", "invoice INV-2024-001234", "ticket #4711-0815"),
    *("case 2:19-cv-01234", "patent US 10,123,456 B2", "model WH-1000XM4", "SKU 88-31-2290"),
    *("serial C02ZK0ABMD6T", "$1,234,567.89", "EUR 1.234.567,89", "population 83,240,525"),
    *("1 402 112 000 people", "0.000123456789", "3.14159265358979", "6.02214076e23", "2019-2020, 2021-2022"),
    *("12/05/2019 14:30:22", "1700000000", "2024-05-17T10:00:00Z", "ports 8080, 8443 and 9090"),
    *("0x7fff5fbff8c0", "color #1a2b3c", "10.0.0.1/8", "192.168.178.1", "255.255.255.0", "localhost:5432"),
    *("x86_64-apple-darwin20.6.0", "RFC 2616 and RFC 7231", "ISO 27001:2013", "EN 12464-1:2021"),
    *("section 230(c)(1)", "§ 823 Abs. 1", "Article 17(2)", "chapter 12.3.4", "Gen 1:1-31", "page 1234567"),
    *("pp. 1024-1036", "vol. 12, no. 3, 345-367", "score 3:2 (1:1)", "odds 11/10 8/13", "ratio 16:9"),
    *("temperature -273.15", "1,000,000,000,000", "99 100 101 102 103", "12345 67890 11121 31415"),
    *("row 5 of 10000000", "id=8872315 name=x", "user_id: 100200300", "run 1234567890", "job 987654321 failed"),
    *("thread 0x16f8e3000", "PID 44321", "NIE CZYTAJ 12345678", "DNI jutra 20230112"),
    *("the sin 123456781 of pride", "SIN(123456789)", "sin 987654320", "pan 12345 fried", "TIN 12-34567"),
    *("in fin 1234567", "NHS spent 1234567890 pounds", "nip 1234567890", "BSN blog 123456780"),
    *("OIB 12345678901", "cpf 123.456.789-00", "HKID A123456(7)", "NRIC S1234567A", "СНИЛС 112-233-445 96"),
    *("My Number 123456789012", "Aadhaar 2341 2341 2347", "PESEL 44051401358"),
    *("codice fiscale RCCMNL83S18D969A", "SSN 000-12-3456", "SSN 123-00-6789", "CURP BOXW310820HNERXN08"),
    *("card 4539 1488 0343 6468", "IBAN DE89 3704 0044 0532 0130 01"),
]


def found(text: str) -> list[tuple[str, str]]:
    characters = Characters(text)
    findings = find_pii(characters, layout(characters.codes), REGIONS)
    return [(finding.kind, text[finding.start : finding.end]) for finding in findings]


@pytest.mark.parametrize("address", MAILBOXES)
def test_an_address_that_is_spelled_out_is_found_whole(address):
    assert found(f"Words before {address} and words after.") == [("email", address)]


@pytest.mark.parametrize("text", NO_MAILBOXES)
def test_a_sentence_with_at_is_no_address(text):
    assert found(f"Words before {text} and words after.") == []


@pytest.mark.parametrize("named", IDENTITY_NUMBERS)
def test_a_number_of_a_person_is_found_beside_its_word(named):
    findings = found(f"Words before {named} and words after.")
    (number,) = [spot for kind, spot in findings if kind == "national_id"]
    assert number in named and sum(map(str.isdigit, number)) >= 4


@pytest.mark.parametrize("number", PHONES)
def test_a_free_number_and_a_number_behind_a_word_of_its_country_is_found(number):
    (kind, spot), *more = found(f"Words before {number} and words after.")
    assert kind == "phone" and number.endswith(spot) and not more


@pytest.mark.parametrize("text", [*NO_PHONES, *NUMBERS_OF_THINGS])
def test_numbers_of_things_stay(text):
    assert found(f"Words before {text} and words after.") == []


@pytest.mark.parametrize(
    ("is_valid", "number"),
    [
        (check_digits.ru_snils, "11223344595"),
        (check_digits.hk_hkid, "G123456A"),
        (check_digits.sg_nric, "S1234567D"),
        (check_digits.sg_nric, "G1234567X"),
        (check_digits.sg_nric, "M1234567K"),
        (check_digits.jp_my_number, "123456789018"),
        (check_digits.tw_id, "A123456789"),
        (check_digits.de_svnr, "15070649C103"),
        (check_digits.hu_taj, "123456788"),
        (check_digits.hu_tax, "8071592153"),
        (check_digits.kz_iin, "850101300124"),
        (check_digits.ir_code, "0499370899"),
        (check_digits.sa_id, "1058529940"),
    ],
)
def test_another_check_digit_is_wrong(is_valid, number):
    """No more than one last digit is right, in rules that take the remainder of a sum."""
    alphabet = "0123456789A" if is_valid is check_digits.hk_hkid else "0123456789"
    if is_valid is check_digits.sg_nric:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [last for last in alphabet if is_valid(number[:-1] + last)] == [number[-1]]


def test_prefixes_of_national_insurance_that_are_never_given_are_no_number():
    assert check_digits.gb_nino("JG103759A")
    assert not any(map(check_digits.gb_nino, ("QQ103759A", "BG103759A", "ZZ103759A", "JO103759A", "JG103759E")))
