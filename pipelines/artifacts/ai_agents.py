"""The names by which pages address the crawlers that gather training text."""

AI_AGENTS = frozenset(
    [
        "ai2bot",
        "amazonbot",
        "anthropic-ai",
        "applebot-extended",
        "bytespider",
        "ccbot",
        "claudebot",
        "claude-web",
        "cohere-ai",
        "diffbot",
        "facebookbot",
        "google-extended",
        "gptbot",
        "meta-externalagent",
        "omgili",
        "perplexitybot",
    ]
)
"""Crawlers that gather training text, by the names their operators publish (darkvisitors' and Cloudflare's lists):
directives for them count as a refusal of training."""
