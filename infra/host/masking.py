"""Credentials and signatures in URLs, masked in all text that is written or shown."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

MASK = "***"
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>]+@")
_LOOSE_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>:@\[\]]+:(?!\d+(?:[/?#\s\"'<>]|$)|/)[^\s\"'<>@]{0,200}@")
"""A password that was not escaped, with the marks that end a host: what follows the colon is no port."""
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}\b|sk-(?:proj-|ant-)?[A-Za-z0-9]{20,}|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,}\.[\w-]+)"
    r"|(?<=Bearer )[\w.~+/-]{8,}=*"
)
"""Tokens with a telling beginning: Hugging Face, GitHub, GitLab, Slack, AWS, OpenAI, Anthropic, JSON Web Tokens."""
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&?#;\s\"'<>]{1,200})=[^&#;\s\"'<>]+(?:;(?![^=&#;\s\"'<>]*=)[^&#;\s\"'<>]*)*")
_NESTED_PARAMETER = re.compile(
    r"(?P<before>%(?:26|3F))(?P<name>[\w.-]{1,80})%3D(?:(?!%26|%23)[^&#;\s\"'<>])+", re.IGNORECASE
)
_NESTED_USERINFO = re.compile(r"(?<=%3A%2F%2F)(?:(?!%2F|%3F)[^&#;/\s\"'<>]){1,200}?%40", re.IGNORECASE)
"""Those of an address that is a parameter of another."""
_HOOK = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/|/bot(?=\d{1,20}:))"
    r"[\w:/-]+(?:/[\w-]+)*"
)
"""Addresses whose path grants access."""
_NAMED = re.compile(
    r"(?P<name>\b(?:[\w-]{0,40}(?:passw(?:or)?d|passphrase|secret|api[_-]?key|(?:account|access|secret|private)[_-]?key)"
    r"|(?:(?:access|refresh|id|auth|api|bearer|session|security)[_-]?)?token)[\"']?\s{0,3}[:=]\s{0,3}[\"']?"
    r"|(?:proxy-)?authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:basic|bearer|token|apikey)\s{1,3})"
    r"[\w.~+/%@!$-]{8,}=*",
    re.IGNORECASE,
)
"""Values behind the name of a secret, in headers, settings, JSON and connection strings."""
_SIGNED = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-ms-", "x-bz-")
"""Prefixes of all that makes a presigned address."""
_SECRET = re.compile(
    r"token|secret|signature|credential|passw|passphrase|api[-_]?key|access[-_]?key|private[-_]?key|key[-_]?pair"
    r"|account[-_]?key|subscription[-_]?key|saml|sessid|auth(?!or(?!iz))|session|jwt|hmac|bearer|hdnea|hdnts|accessid"
)
"""Parts of names of query parameters whose value grants access."""
_SECRET_NAMES = frozenset(
    (
        *("sig", "sign", "key", "pwd", "pass", "policy", "sas", "ticket", "code", "otp", "pin", "tok", "md5"),
        "verify",
    )
)


def masked(text: str) -> str:
    """`text` with user and password of each URL in it, and the values of query parameters that give access (signatures,
    tokens, keys; presigned addresses of S3, GCS and others, SAS of Azure), those of addresses in parameters, the paths
    of hooks, tokens that show what they are, and values behind the name of a secret, replaced by MASK."""
    if "@" in text:
        text = _LOOSE_USERINFO.sub(f"{MASK}@", _USERINFO.sub(f"{MASK}@", text))
    if "%" in text:
        text = _NESTED_PARAMETER.sub(_masked_nested, _NESTED_USERINFO.sub(f"{MASK}@", text))
    text = _HOOK.sub(rf"\1{MASK}", _TOKEN.sub(MASK, text))
    if "=" in text:
        text = _PARAMETER.sub(_masked_parameter, text)
    return _NAMED.sub(rf"\g<name>{MASK}", text) if "=" in text or ":" in text else text


def masked_plain(value: Any) -> Any:
    """Plain data with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(name) if isinstance(name, str) else name: masked_plain(item) for name, item in value.items()}
    return [masked_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _masked_parameter(match: re.Match[str]) -> str:
    return f"{match[1]}={MASK}" if _grants_access(match[1]) else match[0]


def _masked_nested(match: re.Match[str]) -> str:
    return f"{match['before']}{match['name']}%3D{MASK}" if _grants_access(match["name"]) else match[0]


def _grants_access(parameter: str) -> bool:
    name = unquote(parameter).lower().removeprefix("amp;")
    return name.startswith(_SIGNED) or name in _SECRET_NAMES or _SECRET.search(name) is not None
