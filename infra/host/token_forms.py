"""The forms of keys and tokens as their makers document them, each a regular expression by its maker."""

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
    "cloudflare": r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
    "databricks": rf"dapi{_HEX32}(?:-[0-9])?",
    "digitalocean": rf"do[opr]_v1_{_HEX64}",
    "google": r"AIza[0-9A-Za-z_-]{35}",
    "google_client": r"GOCSPX-[A-Za-z0-9_-]{28}",
    "google_oauth": r"ya29\.[A-Za-z0-9_-]{40,}",
    "heroku": r"HRKU-AA[A-Za-z0-9_-]{58}",
    "netlify": r"nfp_[A-Za-z0-9]{36,40}",
    "planetscale": r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._-]{32,64}",
    "pulumi": r"pul-[0-9a-f]{40}",
    "scalingo": r"tk-us-[A-Za-z0-9_-]{48}",
    "supabase": r"sb(?:p_[0-9a-f]{40}|_secret_[A-Za-z0-9_-]{31,41})",
    "tailscale": r"tskey-[a-z]{2,12}-[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,64}",
    "tencent": r"AKID[A-Za-z0-9]{32}",
    "terraform": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}",
    "vault": r"hv[bs]\.[A-Za-z0-9_-]{90,300}",
    # Code, packages and builds
    "buildkite": r"bkua_[0-9a-f]{40}",
    "circleci": r"CCIPAT_[A-Za-z0-9]{22}_[0-9a-f]{40}",
    "clojars": r"CLOJARS_[A-Za-z0-9]{60}",
    "docker": r"dckr_[op]at_[A-Za-z0-9_-]{27,32}",
    "github": r"gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "gitlab": r"gl(?:pat|ptt|rt|dt|ft|cbt|imt|oas|soat|agent|ffct|wt)-[A-Za-z0-9_.-]{20,}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "nuget": r"oy2[a-z0-9]{43}",
    "pypi": r"pypi-AgEI[A-Za-z0-9_-]{50,}",
    "rubygems": r"rubygems_[0-9a-f]{48}",
    "sourcegraph": r"sgp_(?:[0-9a-f]{16}_|local_)?[0-9a-f]{40}",
    # Models
    "anthropic": r"sk-ant-(?:api|admin|oat)\d\d-[A-Za-z0-9_-]{80,}",
    "groq": r"gsk_[A-Za-z0-9]{52}",
    "huggingface": r"hf_[A-Za-z0-9]{34}|api_org_[A-Za-z0-9]{34}",
    "langsmith": rf"lsv2_(?:pt|sk)_{_HEX32}_[0-9a-f]{{10}}",
    "nvidia": r"nvapi-[A-Za-z0-9_-]{60,70}",
    "openai": r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{20,200}T3BlbkFJ[A-Za-z0-9_-]{20,}",
    "openrouter": rf"sk-or-v1-{_HEX64}",
    "perplexity": r"pplx-[A-Za-z0-9]{48}",
    "replicate": r"r8_[A-Za-z0-9]{37}",
    "xai": r"xai-[A-Za-z0-9]{80}",
    # Messages
    "discord": r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}",
    "discord_hook": r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,80}",
    "facebook": r"EAACEdEose0cBA[A-Za-z0-9]{20,}|EAA[CM][A-Za-z0-9]{100,}",
    "mailchimp": rf"{_HEX32}-us[0-9]{{1,2}}",
    "mailgun": rf"key-{_HEX32}",
    "resend": r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}",
    "sendgrid": r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    "sendinblue": rf"xkeysib-{_HEX64}-[A-Za-z0-9]{{16}}",
    "slack": r"xox(?:[abeoprs]-(?:[0-9]{1,20}-)|e(?:\.xox[bp])?-\d-)[0-9A-Za-z-]{10,}",
    "slack_app": r"xapp-\d-[A-Z0-9]{8,14}-[0-9]{8,16}-[0-9a-z]{32,}",
    "slack_hook": r"hooks\.slack\.com/(?:services|workflows|triggers)/T\w{8,30}/[A-Z0-9]{8,30}/[A-Za-z0-9/]{24,60}",
    "teams_hook": rf"webhook\.office\.com/webhookb2/{_UUID}@{_UUID}/IncomingWebhook/{_HEX32}/{_UUID}",
    "telegram": r"(?:bot)?[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    "twilio": rf"SK{_HEX32}",
    # Payment and shops
    "easypost": r"EZ[AT]K[A-Za-z0-9]{54}",
    "flutterwave": rf"FLWSECK-{_HEX32}-X",
    "shippo": r"shippo_live_[0-9a-f]{40}",
    "shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "square": r"sq0(?:csp-[A-Za-z0-9_-]{43}|atp-[A-Za-z0-9_-]{22})",
    # Test keys open nothing.
    "stripe": r"[sr]k_live_[0-9A-Za-z]{24,}|whsec_[A-Za-z0-9+/]{32,64}={0,2}",
    # Work and watch
    "1password": r"ops_eyJ[A-Za-z0-9+/]{250,4000}={0,3}|A3-[A-Z0-9]{6}-[A-Z0-9]{6}-?[A-Z0-9]{5}(?:-[A-Z0-9]{5}){3}",
    "age": r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}",
    "airtable": rf"pat[A-Za-z0-9]{{14}}\.{_HEX64}",
    "atlassian": r"ATATT3[A-Za-z0-9_=-]{150,200}",
    "contentful": r"CFPAT-[A-Za-z0-9_-]{43}",
    "doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}",
    "dynatrace": r"dt0[a-z][0-9]{2}\.[A-Z2-7]{24}\.[A-Z2-7]{64}",
    "figma": r"figd_[A-Za-z0-9_-]{38,48}",
    "grafana": r"glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,3}",
    "linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{40,64}",
    "newrelic": r"NR(?:AK|II|JS)-[A-Za-z0-9]{19,32}",
    "notion": r"ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43}",
    "postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "prefect": r"pn[bu]_[A-Za-z0-9]{36}",
    "readme": r"rdme_[a-z0-9]{70}",
    "sentry": rf"sntryu_{_HEX64}|sntrys_eyJ[A-Za-z0-9+/=_-]{{80,400}}",
    "typeform": r"tfp_[A-Za-z0-9_.=-]{59}",
    # RFC 7519, section 3
    "jwt": r"eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,}",
}


@cache
def token_pattern() -> re.Pattern[str]:
    """A token in one of TOKEN_FORMS, between other characters than letters and digits; compiled at the first call."""
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(TOKEN_FORMS.values())})(?![A-Za-z0-9])")
