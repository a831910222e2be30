"""No credential of a URL appears in written or shown text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.events import EventLog, read_events
from infra.host.masking import masked, masked_plain

SECRET = "Zx9-secret_Value"
ADDRESSES = [
    "https://{0}@host.example/a.jsonl",
    "https://name:{0}@host.example/a.jsonl",
    "https://name:p@{0}@host.example/a.jsonl",
    "s3://bucket/a.jsonl?endpoint_override=http://name:{0}@host:9000",
    "https://b.example/a.jsonl?X-Amz-Algorithm=A&X-Amz-Credential={0}&X-Amz-Signature={0}&X-Amz-Security-Token={0}",
    "https://b.example/a.jsonl?X%2DAmz%2DSignature={0}",
    "https://b.example/a.jsonl?AWSAccessKeyId={0}&Signature={0}&Expires=1",
    "https://storage.example/b/a.jsonl?GoogleAccessId={0}&Signature={0}",
    "https://storage.example/b/a.jsonl?X-Goog-Credential={0}&X-Goog-Signature={0}",
    "https://a.blob.example/c/a.jsonl?sv=2024-01-01&sr=b&sig={0}",
    "https://cdn.example/a.jsonl?Policy={0}&Key-Pair-Id={0}",
    "https://host.example/a.jsonl?page=1&access_token={0}",
    "https://host.example/a.jsonl?api_key={0}#b",
    "https://host.example/a.jsonl?apikey={0}",
    "https://host.example/a.jsonl?a=1&amp;token={0}",
    "https://host.example/a.jsonl?a=1;password={0}",
    "https://host.example/a.jsonl#id_token={0}",
    "postgresql://name:p/{0}@host.example/a.jsonl",
    "https://name:p?{0}@host.example/a.jsonl",
    "https://name:#{0}@host.example/a.jsonl",
    "https://host.example/a.jsonl?tok={0}&md5={0}",
    "https://host.example/a.jsonl (Authorization: Bearer {0}) a.jsonl",
    "az://container/a.jsonl?account_key={0}",
    "https://host.example/a.jsonl?subscription-key={0}&PHPSESSID={0}&SAMLResponse={0}",
    "https://host.example/a.jsonl?to=https%3A%2F%2Fb.example%2F%3Fx%3D1%26sig%3D{0}%26y%3D2",
    "https://host.example/a.jsonl?to=https%3A%2F%2Fname%3A{0}%40b.example%2Fx",
    "https://hooks.slack.com/services/T0/B0/{0} for a.jsonl",
    "https://discord.com/api/webhooks/1234/{0} for a.jsonl",
    "https://ptb.discord.com/api/v10/webhooks/1234/{0} for a.jsonl",
    "https://hooks.zapier.com/hooks/catch/1234/{0} for a.jsonl",
    "https://hook.eu1.make.com/{0} for a.jsonl",
    "https://maker.ifttt.com/trigger/door/with/key/{0} for a.jsonl",
    "https://o.webhook.office.com/webhookb2/1@2/IncomingWebhook/3/{0} for a.jsonl",
    '<add key="ApiKey" value="{0}"/> in a.jsonl',
    "<server><password>{0}</password></server> in a.jsonl",
    '{{"name": "DB_PASSWORD", "value": "{0}"}} in a.jsonl',
    "https://api.telegram.org/bot123456789:{0}/sendMessage for a.jsonl",
    "a.jsonl: DefaultEndpointsProtocol=https;AccountName=a;AccountKey={0}==;EndpointSuffix=core",
    "a.jsonl: Authorization: Basic {0}",
    "a.jsonl: X-Api-Key: {0}",
    "a.jsonl: aws_secret_access_key = {0}",
    "a.jsonl: AWS_SECRET_ACCESS_KEY={0}",
    'a.jsonl: {{"access_token": "{0}", "n": 1}}',
    "a.jsonl from name:{0}@host.example/b",
    "a.jsonl from name:{0}@localhost:5432/b",
    "a.jsonl from //name:{0}@host/b",
    "https://host.example/a.jsonl?expires=1700000000&hash={0}",
    "https://host.example/a.jsonl?h={0}&e=1700000000",
    "https://host.example/a.jsonl?appid={0}Ab12Cd34",
    "https://host.example/viewtopic.php?t=4&sid={0}Ab12Cd34",
    "https://host.example/a.jsonl?pw={0}",
    "https://host.example/a.jsonl?signing_key={0}&app_key={0}",
    "tool --token {0} a.jsonl",
    "tool --hf-token={0} a.jsonl",
    "tool --api-key {0} --password {0} a.jsonl",
    "tool --db-password '{0}' a.jsonl",
    "curl -u name:{0} a.jsonl",
    "curl --user name:{0} a.jsonl",
    "sshpass -p {0} scp a.jsonl",
    "docker login -u name -p {0} a.jsonl",
    "mysql -u name -p{0} a.jsonl",
    "redis-cli -h host -a {0} a.jsonl",
    "HTTPSConnectionPool(host='h'): failed with url: /a.jsonl?client_secret={0} (Caused by X)",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_secret_is_gone_and_the_rest_stays(address):
    text = masked(f"error: '{address.format(SECRET)}': status 403")
    assert SECRET not in text and text.startswith("error: '") and text.endswith("': status 403")
    assert masked(text) == text
    assert "a.jsonl" not in address or "a.jsonl" in text


TOKENS = [
    "hf_" + "a1B2c3D4" * 4,
    "ghp_" + "a1B2c3D4" * 4,
    "github_pat_" + "a1B2c3_4" * 4,
    "glpat-" + "a1B2-3D4" * 3,
    "xoxb-" + "12345-abc" * 2,
    "AKIA" + "A1B2C3D4" * 2,
    "sk-proj-" + "a1B2c3D4" * 4,
    "sk-ant-api03-" + "a1B2c3D4" * 4,
    "sk-svcacct-" + "a1B2-3D4" * 4,
    "xapp-1-A12345678-" + "12345-abc" * 2,
    "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM" + ".SflKxwRJ-_c",
    "glsa_" + "a1B2c3D4" * 4 + "_0123abcd",
    "sk_live_" + "a1B2c3D4" * 3,
    "dop_v1_" + "0123abcd" * 8,
    "hvs." + "a1B2c3D4" * 12,
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("text", ["https://h.example/{}/a", "https://h.example/?q={}", "login with {} failed"])
def test_a_token_that_shows_what_it_is_is_gone_wherever_it_is(token, text):
    assert token not in masked(text.format(token)) and masked(text.format(token)) == text.format("***")


@pytest.mark.parametrize(
    "text",
    [
        "https://host.example/a.jsonl?page=2&region=eu-west-1",
        "mail someone@example.org about https://host.example/a",
        "source.max_quarantined_fraction = 0.05; author=Ann",
        "https://host.example/@someone/post?author=ann",
        "https://host.example:8080/@someone/post",
        "https://[::1]:80/@someone",
        "https://host.example:/a@b",
        "max_tokens = 4096 and eos_token = '<|endoftext|>', tokens: 123456789, pad_token: padding_of_all",
        "the secret: nobody reads it; no password was given; token: 17",
        "https://host.example/a?to=https%3A%2F%2Fb.example%2F%3Fpage%3D12345678%26x%3Da%40b",
        "https://hooks.slack.com/ and https://host.example/bottle:1",
        "https://host.example/a.jsonl?hash=9fceb02d0ae598e95dc970b74767f193&h=123456789",
        "https://host.example/a.jsonl?appid=calendar&app_id=com.example.calendar",
        "https://host.example/a.jsonl?sid=stockholm-central&page=2",
        "docker run -u 1000:1000 -p 8080:80 image:tag@sha256:9fceb02d0ae598e95dc970b74767f193",
        "arctic show token --tokenizer a.json --eos-token eos_of_all --max-tokens 4096 -p 8000",
        "mailto:someone@example.org, E-mail:someone@example.org, at 12:30@host, react:18.2@19.0.1",
        "ssh -p 2222 someone@host.example and psql -p 5432 --user name",
        "https://host.example/sk-learn/hf_hub/eyJ?keyword=monkey&passage=1",
    ],
)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_plain_data_keeps_its_shape(value):
    assert masked_plain(masked_plain(value)) == masked_plain(value)
    json.dumps(masked_plain(value))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_event_log_has_no_secret(tmp_path, address):
    log = EventLog(tmp_path)
    shown = log.append({"event": "warning", "nested": {"paths": [address.format(SECRET)]}})
    log.close()
    assert SECRET not in str(shown) + str(list(read_events(tmp_path)))
