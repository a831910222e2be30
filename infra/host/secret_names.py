"""Names of secrets in settings, headers, commands and addresses, as regular expressions."""

KEY_OR_PASSWORD = (
    r"passw(?:or)?d|passphrase|pwd|secret"
    r"|(?:api|app|access|account|auth|encryption|master|private|secret|shared|signing|storage|subscription)[_-]?key"
)
"""The end of a name whose value opens something, whatever precedes it."""
ASSIGNMENT = (
    r"[\"']?(?:\s{0,3}(?::=|=>|[=:])|[\s,]{1,20}[\"']?value[\"']?\s{0,3}[=:]|>(?:\s{0,20}<value>)?)\s{0,3}[\"'`]?"
)
"""Between a name and its value: a mark, the second of two attributes as in `<add key="..." value="...">` or
`{"name": "...", "value": "..."}`, or the end of a tag."""
SIGNED_PREFIX = r"x-(?:amz|goog|oss|cos|ms|bz)-"
"""Of all query parameters of a presigned address."""
SECRET_WORDS = ("key", "secret", "token", "passw", "passphrase", "pwd")
"""One of them is in each of these names."""
AUTHORIZATION_SCHEME = "basic|bearer|token|apikey"
"""RFC 9110, section 11.6.2, and others in use."""
