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
_SIGNED = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-ms-", "x-bz-")
"""Prefixes of all that makes a presigned address."""
_SECRET = re.compile(
    r"token|secret|signature|credential|passw|passphrase|api[-_]?key|access[-_]?key|private[-_]?key|key[-_]?pair"
    r"|auth(?!or(?!iz))|session|jwt|hmac|bearer|hdnea|hdnts|accessid"
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
    tokens, keys; presigned addresses of S3, GCS and others, SAS of Azure), and tokens that show what they are, replaced
    by MASK."""
    if "@" in text:
        text = _LOOSE_USERINFO.sub(f"{MASK}@", _USERINFO.sub(f"{MASK}@", text))
    text = _TOKEN.sub(MASK, text)
    return _PARAMETER.sub(_masked_parameter, text) if "=" in text else text


def masked_plain(value: Any) -> Any:
    """Plain data with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(name) if isinstance(name, str) else name: masked_plain(item) for name, item in value.items()}
    return [masked_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _masked_parameter(match: re.Match[str]) -> str:
    name = unquote(match[1]).lower().removeprefix("amp;")
    is_secret = name.startswith(_SIGNED) or name in _SECRET_NAMES or _SECRET.search(name)
    return f"{match[1]}={MASK}" if is_secret else match[0]
