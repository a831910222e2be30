"""Keys and tokens that open something, by the forms that their makers publish."""

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

MIN_CHARACTERS = 20
"""The shortest secret; shorter words are not looked at."""
MIN_ENTROPY_BITS = 3.0
"""Per character, over the whole secret; placeholders such as ghp_xxxx... stay below."""
_FORMS = (
    # What another part must follow has an upper limit: without one, a long run of beginnings takes quadratic time.
    r"(?P<aws>(?:AKIA|ASIA)[A-Z2-7]{16})",  # AWS IAM user guide, "Unique identifiers": access key ids
    r"(?P<github>gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})",  # GitHub, "token formats"
    r"(?P<gitlab>gl(?:pat|ptt|rt|dt)-[A-Za-z0-9_-]{20,})",  # GitLab, "Token overview": prefixes
    r"(?P<slack>xox[abeoprs]-(?:[0-9]{1,20}-)[0-9A-Za-z-]{10,})",  # Slack, "Token types"
    r"(?P<google>AIza[0-9A-Za-z_-]{35})",  # Google Cloud, API keys
    r"(?P<stripe>[sr]k_live_[0-9A-Za-z]{24,})",  # Stripe, "API keys": test keys open nothing
    r"(?P<openai>sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,200}T3BlbkFJ[A-Za-z0-9_-]{20,})",  # gitleaks 8.24
    r"(?P<anthropic>sk-ant-(?:api|admin)\d\d-[A-Za-z0-9_-]{80,})",  # gitleaks 8.24
    r"(?P<npm>npm_[A-Za-z0-9]{36})",  # npm, "About access tokens"
    r"(?P<huggingface>hf_[A-Za-z]{34})",  # gitleaks 8.24
    # Slack, "Sending messages using incoming webhooks"
    r"(?P<slack_hook>hooks\.slack\.com/services/T[A-Z0-9]{8,30}/B[A-Z0-9]{8,30}/[A-Za-z0-9]{24})",
    r"(?P<sendgrid>SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})",  # SendGrid, "API keys"
    r"(?P<twilio>SK[0-9a-f]{32})",  # Twilio, "API keys": the SID
    r"(?P<pypi>pypi-AgEI[A-Za-z0-9_-]{50,})",  # PyPI, "API tokens"
    r"(?P<telegram>[0-9]{8,10}:AA[A-Za-z0-9_-]{33})",  # Telegram, "Bot API": authorizing
    r"(?P<azure>AccountKey=[A-Za-z0-9+/]{86}==)",  # Azure, "Configure connection strings"
    r"(?P<discord>[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38})",  # gitleaks 8.24
    r"(?P<digitalocean>do[opr]_v1_[0-9a-f]{64})",  # DigitalOcean, "Token formats"
    r"(?P<databricks>dapi[0-9a-f]{32})",  # gitleaks 8.24
    r"(?P<shopify>shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})",  # Shopify, "Access token formats"
    r"(?P<jwt>eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,})",  # RFC 7519, section 3
)
_TOKEN = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMS)})(?![A-Za-z0-9])")
_AWS_SECRET = re.compile(
    r"aws.{0,20}?(?:secret|sk)\w{0,20}[\"']?\s{0,3}[:=]{1,2}>?\s{0,3}[\"']?(?P<key>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    re.IGNORECASE,
)
"""AWS, "Programmatic access": a secret key has no distinctive form, so its name must precede it."""
_PEM = re.compile(
    r"-----BEGIN (?P<label>(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?)-----"
    r"[A-Za-z0-9+/=\s\\:,.()-]{64,8192}?-----END (?P=label)-----"
)
"""RFC 7468, section 10, and RFC 9580, section 6.2; also with \\n written out, as in source code."""


def secrets(text: str, words: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(start, end) of every secret in `text`; `words`: (start, end) of those of MIN_CHARACTERS or more."""
    for start, end in words:
        for match in _TOKEN.finditer(text, start, end):
            if _is_secret(match):
                yield match.span()
    if "aws" in text or "AWS" in text:
        keys = _AWS_SECRET.finditer(text)
        yield from (key.span("key") for key in keys if _entropy(key["key"]) >= MIN_ENTROPY_BITS and not _is_sample(key))
    if "PRIVATE KEY" in text:
        yield from (match.span() for match in _PEM.finditer(text))


def _is_secret(match: re.Match[str]) -> bool:
    token = match[0]
    if match["jwt"]:
        return _has_algorithm(token.partition(".")[0])
    # AWS marks the keys of its documentation: AKIAIOSFODNN7EXAMPLE.
    return _entropy(token) >= MIN_ENTROPY_BITS and not (match["aws"] and token.endswith("EXAMPLE"))


def _is_sample(key: re.Match[str]) -> bool:
    """Whether AWS marks the key as one of its documentation: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY."""
    return "EXAMPLE" in key["key"]


def _has_algorithm(header: str) -> bool:
    try:
        fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(fields, dict) and "alg" in fields


def _entropy(token: str) -> float:
    """Shannon entropy of the characters, in bits per character."""
    return -sum(count / len(token) * math.log2(count / len(token)) for count in Counter(token).values())
