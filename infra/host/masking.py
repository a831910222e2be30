"""Credentials and signatures in URLs, masked in all text that is written or shown."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from infra.host.secret_names import ASSIGNMENT, AUTHORIZATION_SCHEME, KEY_OR_PASSWORD, SIGNED_PREFIX
from infra.host.token_forms import HOOKS, token_pattern

MASK = "***"
MAX_ADDRESS_CHARACTERS = 2000
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>]+@|(?<=//)[^/?#\s\"'<>:@]+:[^/?#\s\"'<>@]+@")
_BARE_USERINFO = re.compile(
    r"(?<![\w.+/-])(?!(?:mailto|e?-?mail|b?cc|to|from|reply-to|sips?|xmpp|acct|contact|author|by):)[\w.+-]{1,100}:"
    r"[^\s\"'<>@/:]{3,200}@(?=(?:[\w-]+\.)+[A-Za-z]{2,24}\b|localhost\b|\d{1,3}(?:\.\d{1,3}){3}\b)",
    re.IGNORECASE,
)
"""Without a scheme, before the host of an address or of a database."""
_LOOSE_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>:@\[\]]+:(?!\d+(?:[/?#\s\"'<>]|$)|/)[^\s\"'<>@]{0,200}@")
"""A password that was not escaped, with the marks that end a host: what follows the colon is no port."""
_BEGINNING = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|xapp-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|sk-(?:(?:proj|ant|svcacct|admin)-[\w-]{20,}|[A-Za-z0-9]{20,})|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,}\.[\w-]+)"
    r"|(?<=Bearer )[\w.~+/-]{8,}=*"
)
"""Beginnings of tokens that are masked at other lengths, too, than those of TOKEN_FORMS."""
_LONG_WORD = re.compile(r"[^\s\"'<>]{20,}")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&?#;\s\"'<>]{1,200})=([^&#;\s\"'<>]+(?:;(?![^=&#;\s\"'<>]*=)[^&#;\s\"'<>]*)*)")
_NESTED_PARAMETER = re.compile(
    r"(?P<before>%(?:26|3F))(?P<name>[\w.-]{1,80})%3D(?:(?!%26|%23)[^&#;\s\"'<>])+", re.IGNORECASE
)
_NESTED_USERINFO = re.compile(r"(?<=%3A%2F%2F)(?:(?!%2F|%3F)[^&#;/\s\"'<>]){1,200}?%40", re.IGNORECASE)
"""Those of an address that is a parameter of another."""
_HOOK = re.compile(rf"({'|'.join(beginning for beginning, _ in HOOKS.values())}|/bot(?=\d{{1,20}}:))[\w:@/-]+")
"""Addresses whose path grants access."""
_NAMED = re.compile(
    rf"(?P<name>\b(?:[\w-]{{0,40}}(?:{KEY_OR_PASSWORD})|(?:(?:access|refresh|id|auth|api|bearer|session|security)[_-]?)?token)"
    rf"{ASSIGNMENT}|(?:proxy-)?authorization[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"']?(?:{AUTHORIZATION_SCHEME})\s{{1,3}})"
    r"[\w.~+/%@!$-]{8,}=*",
    re.IGNORECASE,
)
"""Values behind the name of a secret, in headers, settings, JSON and connection strings."""
_OPTION = re.compile(
    rf"(?P<name>(?<![\w-])--(?!(?:eos|bos|pad|unk|sep|cls|mask|stop)[_-])[\w-]{{0,40}}(?:{KEY_OR_PASSWORD}|token|pass)(?:\s{{1,3}}|=)[\"']?)"
    r"(?!-)[^\s\"']+",
    re.IGNORECASE,
)
_USER_OPTION = re.compile(
    r"(?P<name>\s(?:-u|--user|--proxy-user)[\s=]{0,2}[\"']?(?P<user>[^\s:\"']{1,100}):)(?!(?P=user)\b|\d+\b)[^\s\"']+"
)
_PASSWORD_OPTION = re.compile(
    r"(?P<name>\b(?:sshpass|mysql\w*|mariadb\w*|mongo\w*|login)\s[^\n|;]{0,200}?(?<=\s)-p\s?[\"']?|\bredis-cli\s[^\n|;]{0,200}?(?<=\s)-a\s[\"']?)"
    r"[^\s\"'-][^\s\"']*"
)
"""Options of commands that take a secret."""
_SECRET = re.compile(
    rf"^{SIGNED_PREFIX}|{KEY_OR_PASSWORD}|passw|token|signature|credential|key[-_]?pair|saml|sessid|auth(?!or(?!iz))|session|jwt|hmac|bearer"
    r"|hdnea|hdnts|accessid"
)
"""Parts of names of query parameters whose value grants access."""
_SECRET_NAMES = frozenset(
    (
        *("sig", "sign", "key", "pwd", "pw", "pass", "policy", "sas", "ticket", "code", "otp", "pin", "tok", "md5"),
        "verify",
    )
)
_DATED_NAMES = frozenset(("hash", "h", "s", "mac", "digest", "checksum", "hashed", "secure", "securehash"))
_DATE = re.compile(r"[?&;](?:e|exp|expir\w*|ttl|st|ts|timestamp|valid\w*|deadline|until)=", re.IGNORECASE)
"""A digest grants access if it signs a time; otherwise it only names a file."""
_DRAWN_NAMES = frozenset(("sid", "appid", "app_id", "app-id", "appcode", "app_code"))
_DRAWN = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_-]{16,}")
"""Some services name their keys and sessions as others name programs and places, whose names nobody draws."""


def masked(text: str) -> str:
    """`text` with user and password of each URL in it, and the values of query parameters that give access (signatures,
    tokens, keys; presigned addresses of S3, GCS and others, SAS of Azure), those of addresses in parameters, the paths
    of hooks, tokens in their makers' forms, and values behind the name or the option of a secret, replaced by MASK."""
    if "@" in text:
        text = _LOOSE_USERINFO.sub(f"{MASK}@", _USERINFO.sub(f"{MASK}@", text))
        text = _BARE_USERINFO.sub(f"{MASK}@", text)
    if "%" in text:
        text = _NESTED_PARAMETER.sub(_masked_nested, _NESTED_USERINFO.sub(f"{MASK}@", text))
    text = _HOOK.sub(rf"\1{MASK}", _BEGINNING.sub(MASK, text))
    if "=" in text:
        text = _PARAMETER.sub(_masked_parameter, text)
    if " -" in text or "--" in text:
        for option in (_OPTION, _USER_OPTION, _PASSWORD_OPTION):
            text = option.sub(rf"\g<name>{MASK}", text)
    if "=" in text or ":" in text or ">" in text:
        text = _NAMED.sub(rf"\g<name>{MASK}", text)
    return _LONG_WORD.sub(lambda word: token_pattern().sub(MASK, word[0]), text)


def masked_plain(value: Any) -> Any:
    """Plain data with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(name) if isinstance(name, str) else name: masked_plain(item) for name, item in value.items()}
    return [masked_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _masked_parameter(match: re.Match[str]) -> str:
    name, value = match[1].lower(), match[2]
    grants = _grants_access(match[1]) or (name in _DRAWN_NAMES and _DRAWN.fullmatch(value))
    if name in _DATED_NAMES and len(value) >= 8:
        grants = grants or _DATE.search(_address(match))
    return f"{match[1]}={MASK}" if grants else match[0]


def _address(match: re.Match[str]) -> str:
    """The address that `match` is a part of."""
    before = match.string[max(0, match.start() - MAX_ADDRESS_CHARACTERS) : match.start()]
    behind = match.string[match.start() : match.end() + MAX_ADDRESS_CHARACTERS]
    return re.split(r"[\s\"'<>]", before)[-1] + re.split(r"[\s\"'<>]", behind, maxsplit=1)[0]


def _masked_nested(match: re.Match[str]) -> str:
    return f"{match['before']}{match['name']}%3D{MASK}" if _grants_access(match["name"]) else match[0]


def _grants_access(parameter: str) -> bool:
    name = unquote(parameter).lower().removeprefix("amp;")
    return name in _SECRET_NAMES or _SECRET.search(name) is not None
