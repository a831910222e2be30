"""A document's opt-out signals: robots directives and reservations of text and data mining."""

import json
from collections.abc import Iterator, Mapping

from pipelines.artifacts.ai_agents import AI_AGENTS

_ROBOTS = ("x-robots-tag", "meta:robots")
_TDM = ("tdm-reservation", "meta:tdm-reservation")
_META = "meta:"
NOTHING = {"noai": False, "noimageai": False, "noindex": False, "nosnippet": False, "tdm_reserved": False}


def opt_out_scores(opt_out: str | None) -> Mapping[str, bool]:
    """The columns `noai` to `tdm_reserved` of SCORES, from the JSON object in the column `opt_out` of a document.

    Robots directives: Google's specification of X-Robots-Tag; a directive that names an agent counts if the agent
    gathers training text, and then `noindex`, `none` and `nosnippet` refuse training too. "noai" and "noimageai":
    DeviantArt's, 2022. TDM: W3C community report "TDM Reservation Protocol", 2024; a policy alone reserves nothing.
    """
    if not opt_out:
        return NOTHING
    signals = dict(NOTHING)
    for name, value in json.loads(opt_out).items():
        name, value = name.lower(), str(value)
        if name in _TDM:
            signals["tdm_reserved"] |= "1" in [part.strip() for part in value.split(",")]
        elif name in _ROBOTS or name.removeprefix(_META) in AI_AGENTS:
            addressed = name.removeprefix(_META) in AI_AGENTS
            for agent, directive in _directives(value):
                _count(signals, directive, addressed or agent in AI_AGENTS, agent)
    return signals


def _directives(value: str) -> Iterator[tuple[str, str]]:
    """(agent, directive) pairs of a header's value; the agent is "" if none is named. Repeated headers come joined by
    commas, so a name binds only the next directive: later ones count for everybody."""
    for part in value.lower().split(","):
        agent, colon, directive = part.partition(":")
        yield (agent.strip(), directive.strip()) if colon else ("", part.strip())


def _count(signals: dict[str, bool], directive: str, to_ai: bool, agent: str) -> None:
    refusals = {"noindex", "none", "nosnippet", "noai"}
    if to_ai:
        signals["noai"] |= directive in refusals
    elif not agent:
        signals["noindex"] |= directive in ("noindex", "none")
        for flag in ("noai", "noimageai", "nosnippet"):
            signals[flag] |= directive == flag
