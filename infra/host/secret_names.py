"""Names of secrets in settings, headers, commands and addresses, as regular expressions."""

KEY_OR_PASSWORD = (
    r"passw(?:or)?d|passphrase|pwd|secret"
    r"|(?:api|app|access|account|auth|encryption|master|private|secret|shared|signing|storage|subscription)[_-]?key"
)
"""The end of a name whose value opens something, whatever precedes it."""
SECRET_WORDS = ("key", "secret", "token", "passw", "passphrase", "pwd")
"""One of them is in each of these names."""
AUTHORIZATION_SCHEME = "basic|bearer|token|apikey"
"""RFC 9110, section 11.6.2, and others in use."""
