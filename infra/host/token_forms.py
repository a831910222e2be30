"""The forms of keys, tokens and addresses that open something, as their makers document them: each a regular expression
by its maker."""

import re
from functools import cache

_HEX32, _HEX64, _UUID = "[0-9a-f]{32}", "[0-9a-f]{64}", "[0-9a-f-]{36}"

# A part before another one has an upper limit: without one, a long run of beginnings takes quadratic time.
TOKEN_FORMS = {
    # Clouds and their tools
    "alibaba": r"LTAI[A-Za-z0-9]{20}",
    "aws": r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
    "aws_bedrock": r"ABSK[A-Za-z0-9+/]{109,269}={0,2}",
    "azure": r"AccountKey=[A-Za-z0-9+/]{86}==",
    "azure_bus": r"SharedAccessKey=[A-Za-z0-9+/]{43}=",
    "azure_ad": r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}",
    "clickhouse": r"4b1d[A-Za-z0-9]{38}",
    "cloudflare": r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
    "databricks": rf"dapi{_HEX32}(?:-[0-9])?",
    "defined": r"dnkey-[a-z0-9=_-]{26}-[a-z0-9=_-]{52}",
    "digitalocean": rf"do[opr]_v1_{_HEX64}",
    "fly": r"fo1_[A-Za-z0-9_-]{43}|fm(?:1[ar]|2)_[A-Za-z0-9+/]{100,2000}={0,3}",
    "google": r"AIza[0-9A-Za-z_-]{35}",
    "google_client": r"GOCSPX-[A-Za-z0-9_-]{28}",
    "google_oauth": r"ya29\.[A-Za-z0-9_-]{40,}",
    "heroku": r"HRKU-AA[A-Za-z0-9_-]{58}",
    "infracost": r"ico-[A-Za-z0-9]{32}",
    "maxmind": r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk",
    "netlify": r"nfp_[A-Za-z0-9]{36,40}",
    "openshift": r"sha256~[A-Za-z0-9_-]{43}",
    "planetscale": r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._-]{32,64}",
    "pulumi": r"pul-[0-9a-f]{40}",
    "scalingo": r"tk-us-[A-Za-z0-9_-]{48}",
    "supabase": r"sb(?:p_[0-9a-f]{40}|_secret_[A-Za-z0-9_-]{31,41})",
    "tailscale": r"tskey-[a-z]{2,12}-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,64}",
    "tencent": r"AKID[A-Za-z0-9]{32}",
    "terraform": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}",
    "yandex": r"AQVN[A-Za-z0-9_-]{35,38}|t1\.[A-Za-z0-9_-]{10,200}={0,2}\.[A-Za-z0-9_-]{86}={0,2}",
    "vault": r"hv[bs]\.[A-Za-z0-9_-]{90,300}",
    # Code, packages and builds
    "buildkite": r"bkua_[0-9a-f]{40}",
    "circleci": r"CCIPAT_[A-Za-z0-9]{22}_[0-9a-f]{40}",
    "clojars": r"CLOJARS_[A-Za-z0-9]{60}",
    "docker": r"dckr_[op]at_[A-Za-z0-9_-]{27,32}",
    "github": r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "gitlab": r"gl(?:pat|ptt|rt|dt|ft|cbt|imt|oas|soat|agent|ffct|wt)-[A-Za-z0-9_.-]{20,}"
    r"|GR1348941[A-Za-z0-9_-]{20}|_gitlab_session=[0-9a-z]{32}",
    "harness": r"[ps]at\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9]{24}\.[A-Za-z0-9]{20}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "nuget": r"oy2[a-z0-9]{43}",
    "octopus": r"API-[A-Z0-9]{26}",
    "pypi": r"pypi-AgEI[A-Za-z0-9_-]{50,}",
    "rubygems": r"rubygems_[0-9a-f]{48}",
    "sourcegraph": r"sgp_(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40}",
    # Models
    "groq": r"gsk_[A-Za-z0-9]{52}",
    "huggingface": r"hf_[A-Za-z0-9]{34}|api_org_[A-Za-z0-9]{34}",
    "langsmith": rf"lsv2_(?:pt|sk)_{_HEX32}_[0-9a-f]{{10}}",
    "nvidia": r"nvapi-[A-Za-z0-9_-]{60,70}",
    # Anthropic, OpenAI and those that follow them, at all lengths: drawn characters have a digit and a capital.
    "models": r"sk-(?:ant|proj|svcacct|admin)-(?:[a-z]{3,5}\d\d-)?(?=[A-Za-z_-]{0,200}[0-9])(?=[a-z0-9_-]{0,200}[A-Z])"
    r"[A-Za-z0-9_-]{20,}|sk-(?=[A-Za-z]{0,64}[0-9])[A-Za-z0-9]{32,64}",
    "openrouter": rf"sk-or-v1-{_HEX64}",
    "perplexity": r"pplx-[A-Za-z0-9]{48}",
    "replicate": r"r8_[A-Za-z0-9]{37}",
    "xai": r"xai-[A-Za-z0-9]{80}",
    # Messages
    "discord": r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
    "facebook": r"EAACEdEose0cBA[A-Za-z0-9]{20,}|EAA[CM][A-Za-z0-9]{100,}",
    "mailchimp": rf"{_HEX32}-us[0-9]{{1,2}}",
    "mailgun": rf"key-{_HEX32}",
    "resend": r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}",
    "sendgrid": r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    "sendinblue": rf"xkeysib-{_HEX64}-[A-Za-z0-9]{{16}}",
    "slack": r"(?:xox(?:[abeoprs]|e\.xox[bp])-[0-9]{1,20}|xapp-[0-9])-[0-9A-Za-z-]{10,}"
    r"|xox[abpr]-(?=[A-Za-z-]{0,64}[0-9])[0-9A-Za-z-]{16,}",
    "telegram": r"(?:bot)?[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    "twilio": rf"SK{_HEX32}",
    # Payment and shops
    "duffel": r"duffel_live_[A-Za-z0-9_=-]{43}",
    "easypost": r"EZ[AT]K[A-Za-z0-9]{54}",
    "flutterwave": rf"FLWSECK-{_HEX32}-X",
    "lob": r"live_[0-9a-f]{35}",
    "plaid": rf"access-(?:development|production)-{_UUID}",
    "shippo": r"shippo_live_[0-9a-f]{40}",
    "shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "square": r"sq0(?:csp-[A-Za-z0-9_-]{43}|atp-[A-Za-z0-9_-]{22})|EAAA[A-Za-z0-9_-]{60}",
    # Test keys open nothing.
    "stripe": r"[sr]k_(?:live|prod)_[0-9A-Za-z]{24,}|whsec_[A-Za-z0-9+/]{32,64}={0,2}",
    # Work and watch
    "1password": r"ops_eyJ[A-Za-z0-9+/]{250,4000}={0,3}|A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}",
    "42": rf"s-s4t2(?:ud|af)-{_HEX64}",
    "adobe": r"p8e-[A-Za-z0-9]{32}",
    "age": r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
    "airtable": rf"pat[A-Za-z0-9]{{14}}\.{_HEX64}",
    "atlassian": r"ATATT3[A-Za-z0-9_=-]{150,200}",
    "authress": r"(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}"
    r"\.acc[_-][A-Za-z0-9-]{10,32}\.[A-Za-z0-9+/_=-]{30,120}",
    "contentful": r"CFPAT-[A-Za-z0-9_-]{43}",
    "doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
    "dropbox": r"sl\.[A-Za-z0-9_=-]{130,}",
    "dynatrace": r"dt0[a-z][0-9]{2}\.[A-Z2-7]{24}\.[A-Z2-7]{64}",
    "figma": r"figd_[A-Za-z0-9_-]{38,48}",
    "frameio": r"fio-u-[A-Za-z0-9_=-]{64}",
    "grafana": r"eyJrIjoi[A-Za-z0-9]{70,400}={0,3}|glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,3}",
    "linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{40,64}",
    "mapbox": r"sk\.eyJ[A-Za-z0-9_-]{40,300}\.[A-Za-z0-9_-]{20,30}",
    "newrelic": r"NR(?:AK|II|JS)-[A-Za-z0-9]{19,32}",
    "notion": r"ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43}",
    "postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "prefect": r"pn[bu]_[A-Za-z0-9]{36}",
    "readme": r"rdme_[a-z0-9]{70}",
    "sentry": rf"sntryu_{_HEX64}|sntrys_eyJ[A-Za-z0-9+/=_-]{{80,400}}",
    "settlemint": r"sm_[aps]at_[A-Za-z0-9]{16}",
    "typeform": r"tfp_[A-Za-z0-9_.=-]{59}",
}
_JWT = r"eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,}"
"""RFC 7519, section 3."""
HOOKS = {
    "discord": (r"discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/", r"[0-9]{5,20}/[A-Za-z0-9_-]{30,100}"),
    "ifttt": (r"maker\.ifttt\.com/trigger/[A-Za-z0-9_-]{1,100}/(?:json/)?with/key/", r"[A-Za-z0-9_-]{20,60}"),
    "make": (r"hook\.(?:[a-z]{2}[0-9]\.)?make\.com/", r"[a-z0-9]{28,40}"),
    "slack": (r"hooks\.slack\.com/(?:services|workflows|triggers)/", r"T\w{8,30}/[A-Z0-9]{8,30}/[A-Za-z0-9/]{24,60}"),
    "teams": (r"webhook\.office\.com/webhookb2/", rf"{_UUID}@{_UUID}/IncomingWebhook/{_HEX32}/{_UUID}"),
    "zapier": (r"hooks\.zapier\.com/hooks/catch/", r"[0-9]{4,12}/[a-z0-9]{6,20}"),
}
"""Addresses whose path grants access: the public beginning, and the numbers and drawn parts behind it."""


@cache
def token_pattern() -> re.Pattern[str]:
    """A token in one of TOKEN_FORMS, a JSON Web Token (the group "jwt") or an address of HOOKS (the group "hook"),
    between other characters than letters and digits; compiled at the first call."""
    hooks = "|".join(f"{beginning}(?:{drawn})" for beginning, drawn in HOOKS.values())
    tokens = "|".join(TOKEN_FORMS.values())
    return re.compile(rf"(?<![A-Za-z0-9])(?:{tokens}|(?P<jwt>{_JWT})|(?P<hook>{hooks}))(?![A-Za-z0-9])")
