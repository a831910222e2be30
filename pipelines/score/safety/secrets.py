"""Keys, tokens and passwords that open something: by their makers' published forms, or by the name before them."""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from infra.host.secret_names import ASSIGNMENT, AUTHORIZATION_SCHEME, KEY_OR_PASSWORD, SECRET_WORDS, SIGNED_PREFIX
from infra.host.token_forms import token_pattern

MIN_CHARACTERS = 20
"""The shortest word that is looked at: one with a secret, or with its name and the secret."""
MIN_ENTROPY_BITS = 3.0
"""Per character, over the whole secret; placeholders such as ghp_aaaa... stay below."""
_PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|example|your[_-]?|placeholder|change[_-]?me|dummy|redacted|insert|replace"
    r"|0{6}|abcdefgh|12345678",
    re.IGNORECASE,
)
"""What documentation has in the place of a secret: AKIAIOSFODNN7EXAMPLE."""
_NAMED = re.compile(
    r"(?<!public)(?<!public[_-])(?<!csrf)(?<!csrf[._-])"
    rf"(?:{KEY_OR_PASSWORD}|token){ASSIGNMENT}(?:django-insecure-)?"
    r"(?P<value>[A-Za-z0-9_+/=.~!@#$%^*-]{16,200})(?=[\"'`\s;,)}&<]|$)",
    re.IGNORECASE,
)
_NAME_CHARACTERS = 40
"""How far before a word the name of its secret is looked for."""
_DIGIT = re.compile(r"\d")
"""In a secret that only its name shows: drawn ones have one, most names and prose none."""
_UNDRAWN = re.compile(
    r"[a-z]{8}|[A-Z][a-z]{3,20}[A-Z][a-z]{3}|[A-Za-z]{3,20}[-_./][A-Za-z]{3,20}[-_./]|^0x|^pk_|^[\d.-]+$|^\W{0,3}[$%]"
)
"""Parts of names and paths, which drawn letters hardly ever form, public addresses, numbers and variables."""
_USERINFO = re.compile(
    r"://(?P<user>[^\s/?#:@]{0,100}):(?P<password>[^\s/?#:@<>{}\[\]()$%*\"']{4,100})@(?P<host>[\w.-]{3,253})"
)
_COMMAND_USER = re.compile(
    r"\bcurl\s(?:[^\n;|]|\\\n){0,300}?(?<=\s)(?:-u|--user|--proxy-user)[\s=]{0,2}[\"']?"
    r"(?P<user>[^\s:\"'$<>{}\[\]]{1,100}):(?P<password>[^\s\"'$<>{}\[\]();|]{4,100})(?=[\s\"';|)`]|$)"
)
_COMMAND_HOST = re.compile(r"://(?P<host>[\w.-]{3,253})")
_SIGNATURE = re.compile(
    rf"[?&;](?:sig|signature|{SIGNED_PREFIX}(?:signature|credential|security-token))="
    r"(?P<value>[A-Za-z0-9%+/_~.-]{20,4000}={0,2})",
    re.IGNORECASE,
)
"""Parameters of a presigned address that grant access."""
_NO_HOSTS = re.compile(r"(?:^|\.)(?:example(?:\.\w+)?|test|invalid|localhost|host(?:name)?|server|domain\.\w+)$|^127\.")
_SAMPLE_PASSWORDS = frozenset(
    ("pass", "pswd", "user", "admin", "root", "test", "guest", "postgres", "port", "mysql", "p4ss")
)
_AUTHORIZATION = re.compile(
    rf"uthorization[\"']?\s{{0,3}}[:=,]\s{{0,3}}[\"']?(?P<scheme>(?i:{AUTHORIZATION_SCHEME}))\s{{1,3}}"
    r"(?P<value>[A-Za-z0-9._~+/-]{8,4000}={0,2})"
)
"""RFC 9110, section 11.6.2, in a request or in code that sends it."""
_AWS_SECRET = re.compile(
    r"aws.{0,20}?(?:secret|sk)\w{0,20}[\"']?\s{0,3}[:=]{1,2}>?\s{0,3}[\"']?(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    re.IGNORECASE,
)
"""AWS, "Programmatic access": a secret key has no distinctive form, so its name must precede it."""
_PEM = re.compile(
    r"-----BEGIN (?P<label>(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?)-----"
    r"[A-Za-z0-9+/=\s\\:,.()-]{64,8192}?-----END (?P=label)-----"
)
"""RFC 7468, section 10, and RFC 9580, section 6.2; also with \\n written out, as in source code."""
_PUTTY = re.compile(
    r"Private-Lines: \d{1,4}\s{1,2}(?P<value>(?:[A-Za-z0-9+/=]{4,64}\r?\n){0,500}[A-Za-z0-9+/]{16,64}={0,2})"
)
"""PuTTY, appendix C: the file format of private keys."""


def secrets(text: str, words: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(start, end) of every secret in `text`, none in another; `words`: (start, end) of those of MIN_CHARACTERS or
    more."""
    spans = [span for start, end in words for span in _in_word(text, start, end)]
    if "aws" in text or "AWS" in text:
        spans += (key.span("value") for key in _AWS_SECRET.finditer(text) if _is_drawn(key["value"]))
    if "uthorization" in text:
        spans += (match.span("value") for match in _AUTHORIZATION.finditer(text) if _authorizes(match))
    if "curl" in text:
        spans += (match.span("password") for match in _COMMAND_USER.finditer(text) if _logs_in(match))
    if "PRIVATE KEY" in text:
        spans += (match.span() for match in _PEM.finditer(text))
    if "PuTTY-User-Key-File" in text:
        spans += (match.span("value") for match in _PUTTY.finditer(text))
    done = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > done:
            yield max(start, done), end
            done = end


def _in_word(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in token_pattern().finditer(text, start, end):
        if _has_algorithm(match[0]) if match["jwt"] else _is_drawn(_drawn_part(match)):
            yield match.span()
    is_address = text.find("://", start, end) >= 0
    if is_address and (userinfo := _USERINFO.search(text, start, end)) and _is_password(**userinfo.groupdict()):
        yield userinfo.span("password")
    if is_address:
        for match in _SIGNATURE.finditer(text, start, end):
            if _is_drawn(match["value"]):
                yield match.span("value")
    first = max(0, start - _NAME_CHARACTERS)
    assigned = text.find("=", first, end) >= 0 or (not is_address and text.find(":", first, end) >= 0)
    if assigned and any(map(text[first:end].lower().__contains__, SECRET_WORDS)) and _DIGIT.search(text, start, end):
        for match in _NAMED.finditer(text, first, end):
            if match.end() > start and _is_drawn(match["value"]) and not _UNDRAWN.search(match["value"]):
                yield match.span("value")


def _is_drawn(token: str) -> bool:
    """Whether the characters are as different as drawn ones, and no placeholder."""
    counts = Counter(token).values()
    entropy_bits = -sum(count / len(token) * math.log2(count / len(token)) for count in counts)
    return entropy_bits >= MIN_ENTROPY_BITS and not _PLACEHOLDER.search(token)


def _drawn_part(token: re.Match[str]) -> str:
    """Of an address its last part: the numbers before it may look like a placeholder."""
    return token[0].rpartition("/")[2] if token["hook"] else token[0]


def _logs_in(command: re.Match[str]) -> bool:
    line, _, _ = command.string[command.end() : command.end() + 300].partition("\n")
    host = _COMMAND_HOST.search(command[0]) or _COMMAND_HOST.search(line)
    return _is_password(command["user"], command["password"], host["host"] if host else "")


def _is_password(user: str, password: str, host: str) -> bool:
    """Whether the password of an address is somebody's: documentation has some that are not."""
    user, password, host = user.lower(), password.lower(), host.lower()
    is_sample = password in (user, *_SAMPLE_PASSWORDS) or "pass" in password or _PLACEHOLDER.search(password)
    return not is_sample and not _NO_HOSTS.search(host) and not password.isdecimal()


def _authorizes(header: re.Match[str]) -> bool:
    value = header["value"]
    if header["scheme"].lower() != "basic":
        return len(value) >= MIN_CHARACTERS and _DIGIT.search(value) is not None and _is_drawn(value)
    whole = value.rstrip("=")
    try:
        user, colon, password = base64.b64decode(whole + "=" * (-len(whole) % 4), b"-_").partition(b":")
    except binascii.Error:
        return False
    # RFC 7617 has the one of Aladdin.
    return bool(colon and password) and user != password and password not in (b"open sesame", b"password", b"pass")


def _has_algorithm(token: str) -> bool:
    """Whether the first part of a JSON Web Token names its algorithm."""
    header = token.partition(".")[0]
    try:
        fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(fields, dict) and "alg" in fields
