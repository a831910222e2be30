"""Keys of many makers, passwords and headers are found whole; what only looks like one stays."""

import base64
import random
import string
import time

import pytest

from pipelines.score.safety.secrets import MIN_CHARACTERS, secrets

DRAW = random.Random(12)
ALNUM, HEX, UPPER = string.ascii_letters + string.digits, "0123456789abcdef", string.ascii_uppercase + string.digits
BASE32 = string.ascii_uppercase + "234567"


def some(length: int, alphabet: str = ALNUM) -> str:
    """Drawn here, so that no file holds a string that looks like somebody's key."""
    return "".join(DRAW.choices(alphabet, k=length))


GUID = f"{some(8, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{some(12, HEX)}"
TOKENS = {
    "42": f"s-s4t2ud-{some(64, HEX)}",
    "Adobe": "p8e-" + some(32),
    "Age": "AGE-SECRET-KEY-1" + some(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"),
    "Airtable": f"pat{some(14)}.{some(64, HEX)}",
    "Alibaba Cloud": "LTAI" + some(20),
    "Anthropic": "sk-ant-api03-" + some(93) + "AA",
    "Anthropic, short": "sk-ant-A1" + some(38),
    "Authress": f"scauth_{some(12)}.{some(5)}.acc-{some(20)}.{some(60)}",
    "Atlassian": "ATATT3xFfGF0" + some(180),
    "AWS Bedrock": "ABSK" + some(120),
    "Brevo": f"xkeysib-{some(64, HEX)}-{some(16)}",
    "Buildkite": "bkua_" + some(40, HEX),
    "CircleCI": f"CCIPAT_{some(22)}_{some(40, HEX)}",
    "ClickHouse": "4b1d" + some(38),
    "Clojars": "CLOJARS_" + some(60),
    "Cloudflare": f"v1.0-{some(24, HEX)}-{some(146, HEX)}",
    "Contentful": "CFPAT-" + some(43),
    "DeepSeek": "sk-" + some(31, HEX) + "7",
    "Defined": f"dnkey-{some(26, HEX)}-{some(52, HEX)}",
    "Discord": f"discord.com/api/webhooks/{some(18, string.digits)}/{some(68)}",
    "Discord, counted": f"discord.com/api/v10/webhooks/123456780000001234/{some(68)}",
    "Docker": "dckr_pat_" + some(27),
    "Doppler": "dp.pt." + some(43),
    "Dynatrace": f"dt0c01.{some(24, BASE32)}.{some(64, BASE32)}",
    "Dropbox": "sl." + some(135),
    "Duffel": "duffel_live_" + some(43),
    "EasyPost": "EZAK" + some(54),
    "Figma": "figd_" + some(40),
    "Flutterwave": f"FLWSECK-{some(32, HEX)}-X",
    "Fly": "fm2_" + some(120),
    "Frame.io": "fio-u-" + some(64),
    "GitLab runner": "GR1348941" + some(20),
    "GitLab SCIM": "glsoat-" + some(20),
    "GitLab CI": "glcbt-" + some(24),
    "Google client": "GOCSPX-" + some(28),
    "Google OAuth": "ya29." + some(70),
    "Grafana": f"glsa_{some(32)}_{some(8, HEX)}",
    "Grafana Cloud": "glc_" + some(60),
    "Grafana, old": "eyJrIjoi" + some(80),
    "Groq": "gsk_" + some(52),
    "Harness": f"pat.{some(22)}.{some(24)}.{some(20)}",
    "Heroku": "HRKU-AA" + some(58),
    "Hugging Face": "hf_" + some(34),
    "IFTTT": f"maker.ifttt.com/trigger/door/with/key/{some(43)}",
    "Infracost": "ico-" + some(32),
    "LangSmith": f"lsv2_pt_{some(32, HEX)}_{some(10, HEX)}",
    "Linear": "lin_api_" + some(40),
    "Mailchimp": f"{some(32, HEX)}-us12",
    "Mailgun": "key-" + some(32, HEX),
    "Mapbox": f"sk.eyJ{some(60)}.{some(22)}",
    "MaxMind": f"{some(6)}_{some(29)}_mmk",
    "New Relic": "NRAK-" + some(27, UPPER),
    "Notion": f"ntn_{some(11, string.digits)}{some(35)}",
    "Notion, old": "secret_" + some(43),
    "NVIDIA": "nvapi-" + some(64),
    "Octopus": "API-" + some(26, UPPER),
    "OpenAI service": "sk-svcacct-A1" + some(40),
    "OpenAI project": "sk-proj-A1" + some(40),
    "OpenRouter": "sk-or-v1-" + some(64, HEX),
    "Perplexity": "pplx-" + some(48),
    "Plaid": f"access-production-{some(8, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{some(4, HEX)}-{some(12, HEX)}",
    "PlanetScale": "pscale_tkn_" + some(43),
    "Postman": f"PMAK-{some(24, HEX)}-{some(34, HEX)}",
    "Prefect": "pnu_" + some(36),
    "Pulumi": "pul-" + some(40, HEX),
    "ReadMe": "rdme_" + some(70, string.ascii_lowercase + string.digits),
    "Replicate": "r8_" + some(37),
    "RubyGems": "rubygems_" + some(48, HEX),
    "Sentry": "sntryu_" + some(64, HEX),
    "Service bus": f"SharedAccessKey={some(43)}=",
    "Shippo": "shippo_live_" + some(40, HEX),
    "SettleMint": "sm_pat_" + some(16),
    "Slack app, short": "xapp-1-" + some(40),
    "Slack app": f"xapp-1-A{some(10, UPPER)}-{some(13, string.digits)}-{some(64, HEX)}",
    "Slack hook": f"hooks.slack.com/services/T00000000/B00000000/{some(24)}",
    "Square": "sq0csp-" + some(43),
    "Stripe hook": "whsec_" + some(32),
    "Supabase": "sbp_" + some(40, HEX),
    "Tailscale": f"tskey-auth-{some(12)}-{some(32)}",
    "Terraform": f"{some(14)}.atlasv1.{some(67)}",
    "Teams": f"webhook.office.com/webhookb2/{GUID}@{GUID}/IncomingWebhook/{some(32, HEX)}/{GUID}",
    "Typeform": "tfp_" + some(59),
    "Vault": "hvs." + some(95),
    "xAI": "xai-" + some(80),
    "Yandex": "AQVN" + some(36),
    "Zapier": f"hooks.zapier.com/hooks/catch/1234567/{some(12, ALNUM.lower())}a9",
}


def found(text: str) -> list[str]:
    words, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        words += [(start, start + len(word))] if len(word) >= MIN_CHARACTERS else []
        start += len(word)
    return [text[start:end] for start, end in secrets(text, words)]


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize(
    "around", ["before {} behind", '"{}",', "https://h.example/?q={}", "密钥{}请保密", "({})", "{}"]
)
def test_a_token_in_its_makers_form_is_found_whole(token, around):
    assert found(around.format(token)) == [token]


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_placeholder_in_its_makers_form_stays(token):
    beginning = max(6, len(token) - 20)
    assert found("set it to " + token[:beginning] + "x" * (len(token) - beginning)) == []
    assert found("set it to " + token[:beginning] + "EXAMPLE" + token[beginning + 7 :]) == []


PASSWORD = "x9K!" + some(16)
BASIC = base64.b64encode(f"mara:{PASSWORD}".encode()).decode()
NAMED = {
    "postgres://mara:{}@db.nordhafen.de:5432/x": PASSWORD,
    "mongodb+srv://root:{}@c0.ab12.mongodb.net/": PASSWORD,
    "git clone https://mara:{}@git.nordhafen.de/a.git": "kelp-41",
    "Authorization: Basic {}": BASIC,
    "curl -H 'Authorization: Bearer {}' https://h.example": some(40),
    'headers = {{"Authorization": "Token {}"}}': some(40, HEX),
    'api_key = "{}"': some(32),
    'apiKey: "{}",': some(32),
    '"client_secret": "{}"': some(40),
    "export DB_PASSWORD={}": PASSWORD,
    "SECRET_KEY = 'django-insecure-{}'": some(50),
    "access-token => {}": some(24),
    "signing_key: {}": some(24),
    "AZURE_STORAGE_KEY={}": some(32),
    "Authorization: bearer {}": some(40),
    '<add key="ApiKey" value="{}" />': some(32),
    '<add value="1" key="ApiKey"\n     value = \'{}\'>': some(32),
    '<property name="db.password" value="{}"/>': some(24),
    '<setting name="Password" serializeAs="String">\n  <password>{}</password>': some(24),
    '<entry key="client_secret"><value>{}</value></entry>': some(24),
    '{{"name": "API_KEY", "value": "{}"}}': some(32),
    "- name: DB_PASSWORD\n  value: {}": some(24),
    "curl -u mara:{} https://nordhafen.de/a": "kelp-41",
    "curl -s -X POST --user 'mara:{}' https://nordhafen.de/a": PASSWORD,
    "curl https://nordhafen.de/a \\\n  --proxy-user mara:{}": "kelp-41",
    "https://a.blob.core.windows.net/c/a?sv=2024-01-01&sr=b&sig={}&se=2030": some(43) + "%3D",
    "https://b.s3.amazonaws.com/a?X-Amz-Credential={}&X-Amz-Date=20240101T000000Z": "AKIA"
    + some(16, BASE32)
    + "%2F20240101%2Feu-west-1%2Fs3%2Faws4_request",
    "https://b.s3.amazonaws.com/a?X-Amz-Expires=3600&X-Amz-Signature={}": some(64, HEX),
    "https://b.s3.amazonaws.com/a?x=1&amp;X-Amz-Security-Token={}": some(200),
    "https://storage.googleapis.com/b/a?X-Goog-Date=1&X-Goog-Signature={}": some(512, HEX),
    "https://b.s3.amazonaws.com/a?Expires=1&Signature={}": some(27) + "%3D",
    "PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 2\n{}\nPrivate-MAC: 7": some(64) + "\n" + some(40),
}


@pytest.mark.parametrize(("text", "secret"), NAMED.items())
def test_a_secret_is_found_by_what_precedes_it(text, secret):
    assert found("words before " + text.format(secret) + " words behind") == [secret]


@pytest.mark.parametrize(
    "text",
    [
        "password = os.environ['DB_PASSWORD_OF_2024_AND_25']",
        "token: str = field(default_factory=secrets.token_hex_16_or_32)",
        'api_key = "YOUR_API_KEY_1_GOES_HERE_2_PLEASE"',
        "password: correct-horse-battery-staple-22",
        "token=aaaaaaaaaaaaaaaaaaaaaaaaaaaaa11",
        "token_type = AbstractTokenizerFactoryProvider22",
        "token: AbstractTokenizerFactoryProvider22",
        "SECRET_ARN=arn:aws:secretsmanager:eu-west-1:123456789012:secret:OrdersDatabase-12",
        "the token 0xdAC17F958D2ee523a2206206994597C13D831ec7",
        "token: 0xdAC17F958D2ee523a2206206994597C13D831ec7",
        "csrf_token = " + some(32, HEX),
        "publicToken: " + some(32, HEX),
        "password = ${DB_PASSWORD_2024_11}",
        "https://user:password@db.nordhafen.de/a",
        "https://user:{password}@db.nordhafen.de/a",
        "postgres://postgres:postgres@db.nordhafen.de/a",
        "https://mara:kelp-41@db.example.com/a",
        "redis://mara:kelp-41@localhost:6379/0",
        "https://nordhafen.de:8080/@someone/post",
        "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Authorization: Basic authentication and a header",
        "Authorization: Bearer YOUR_ACCESS_TOKEN_22_GOES_HERE",
        "Authorization: Bearer mF_9.B5f-4.1JqM",
        "xai-explainable-artificial-intelligence-for-all-of-us",
        "commit " + some(40, HEX),
        "sk-proj-list-of-the-week-and-more-of-2024",
        "sk-ant-colony-optimization-for-beginners",
        "xoxo-gossip-girl-forever-and-ever-2012",
        "https://discord.com/api/webhooks/{webhook.id}/{webhook.token}",
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "curl -u user:password https://nordhafen.de/a",
        "curl -u $USER:$PASSWORD https://nordhafen.de/a",
        "curl -u mara:kelp-41 https://api.example.com/a",
        "curl -u 1000:1000 https://nordhafen.de/a",
        "ps -u mara:kelp-41",
        '<input name="password" value="" placeholder="Your-Password-2">',
        '<add key="ApiKeyHeader" value="X-Nordhafen-Api-Key-2"/>',
        '<add key="PublicToken" value="' + some(32) + '"/>',
        "https://nordhafen.de/a?sig=SIGNATURE_GOES_HERE_EXAMPLE",
        "https://nordhafen.de/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host",
        "https://nordhafen.de/a?design=" + some(32, HEX),
        "integrity=sha384-" + some(64),
        "https://nordhafen.de/api/webhooks/" + some(40),
    ],
)
def test_what_only_looks_like_a_secret_stays(text):
    assert found(f"words before {text} words behind") == []


@pytest.mark.parametrize(
    "beginning",
    [
        *("sk-", "ghp_", "eyJ", "://", "://a:", "a://a:b@", "token=", "password:", "hooks.slack.com/services/T", "a"),
        *(
            "Authorization: Basic ",
            "PuTTY-User-Key-File-2: Private-Lines: 1\n",
            "-----BEGIN PRIVATE KEY-----",
            "aws sk =",
            "curl -u a:",
            "http://a?sig=",
            "sk-ant-A1",
            "xapp-1-",
            '<add key="ApiKey" value="',
            "discord.com/api/webhooks/1/",
        ),
    ],
)
def test_a_long_run_of_beginnings_takes_linear_time(beginning):
    def seconds(size: int) -> float:
        text = beginning * (size // len(beginning))
        start = time.process_time()
        found(text)
        return time.process_time() - start

    assert min(seconds(160_000) for _ in range(3)) < 20 * min(seconds(20_000) for _ in range(3)) + 0.02
