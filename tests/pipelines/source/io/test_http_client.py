"""Bytes arrive whole or not at all, however the server behaves; waiting is recorded, never done."""

import email.utils
import itertools

import pytest

from pipelines.source.io.http_client import ChangedError, HttpClient, HttpError, Version

CONTENT = bytes(range(256)) * 2000
NOW = 1_700_000_000.0


@pytest.fixture
def waited():
    return []


@pytest.fixture
def client(waited):
    return HttpClient(attempts=5, sleep=waited.append, now=lambda: NOW)


@pytest.fixture
def download(server, client, tmp_path):
    """`download(*answers)`: fetch a file whose first requests get these answers; gives its bytes."""

    def download(*answers, client: HttpClient = client, pinned: Version | None = None) -> bytes:
        server.files["/file"] = CONTENT
        server.script["/file"] = list(answers)
        client.download(f"{server.url}/file", tmp_path / "copy", pinned)
        return (tmp_path / "copy").read_bytes()

    return download


def test_a_sound_answer_is_taken_with_one_request(download, server, waited):
    assert download() == CONTENT
    assert (server.requests, waited) == ([("/file", None)], [])


def test_the_version_of_a_url_costs_one_byte(client, server):
    server.files |= {"/file": CONTENT, "/empty": b""}
    assert client.version(f"{server.url}/file") == Version('etag "one"', len(CONTENT))
    assert client.version(f"{server.url}/empty") == Version("", 0)
    assert server.requests[0] == ("/file", "bytes=0-0")


def test_waits_double_and_are_at_least_what_the_server_asks_for(download, respond, waited):
    in_a_minute = email.utils.formatdate(NOW + 60, usegmt=True)
    answers = [respond.status(500), respond.status(503, Retry_After=30), respond.status(429, Retry_After=in_a_minute)]
    assert download(*answers, respond.status(502, Retry_After="soon")) == CONTENT
    assert waited == [1.0, 30.0, 60.0, 8.0]


def test_a_server_that_asks_for_hours_has_refused(download, respond, waited):
    with pytest.raises(HttpError, match=r"/file: status 503, and asks to wait 7200 s"):
        download(respond.status(503, Retry_After=7200))
    assert waited == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_what_is_refused_for_good_is_asked_for_once(download, respond, server, code):
    with pytest.raises(HttpError, match=f"/file: status {code}"):
        download(respond.status(code))
    assert len(server.requests) == 1


def test_the_last_attempt_says_what_stayed_bad(download, respond, waited):
    with pytest.raises(HttpError, match="/file: status 503, at the last of 5 attempts"):
        download(*[respond.status(503)] * 5)
    assert waited == [1.0, 2.0, 4.0, 8.0]


def test_a_torn_body_is_resumed_where_it_ended(download, respond, server):
    assert download(respond.truncated(1000), respond.truncated(500)) == CONTENT
    assert server.ranges("/file") == [None, "bytes=1000-", "bytes=1500-"]


def test_a_file_that_is_replaced_between_attempts_starts_over(download, respond, server):
    def torn_then_replaced(handler, content):
        respond.truncated(1000)(handler, content)
        server.files["/file"], server.tags["/file"] = CONTENT[::-1], '"two"'

    assert download(torn_then_replaced) == CONTENT[::-1]


def test_a_server_without_ranges_is_read_from_the_start_again(download, respond):
    assert download(respond.truncated(1000), respond.ignoring_ranges) == CONTENT


@pytest.mark.parametrize("stated", [len(CONTENT) + 7, len(CONTENT) - 7])
def test_a_wrong_length_is_never_taken(download, respond, stated):
    pinned = Version('etag "one"', len(CONTENT))
    assert download(respond.stating(Content_Length=stated), pinned=pinned) == CONTENT
    with pytest.raises(HttpError, match="at the last of 5 attempts"):
        download(*[respond.stating(Content_Length=stated)] * 5, pinned=pinned)


def test_a_body_longer_than_stated_is_found_by_the_size_that_was_pinned(download):
    with pytest.raises(HttpError, match=f"states {len(CONTENT)} bytes instead of 9"):
        download(pinned=Version('etag "one"', 9))


def test_other_content_than_was_pinned_stops_the_run(download):
    with pytest.raises(ChangedError, match=r"/file: changed since the run was planned. Start the run again"):
        download(pinned=Version('etag "zero"', len(CONTENT)))


def test_a_slow_body_ends_at_the_deadline_and_goes_on_in_the_next_attempt(download, server, waited):
    ticks = itertools.count(step=100)
    slow = HttpClient(attempts=99, attempt_deadline_s=150.0, sleep=waited.append, clock=lambda: float(next(ticks)))
    assert download(client=slow) == CONTENT
    ranges = server.ranges("/file")
    assert len(ranges) > 2 and len(set(ranges)) == len(ranges)
    impatient = HttpClient(attempts=2, attempt_deadline_s=0.5, sleep=waited.append, clock=lambda: float(next(ticks)))
    with pytest.raises(HttpError, match="the body takes more than 0.5 s, at the last of 2 attempts"):
        download(client=impatient)


def test_a_server_that_falls_silent_is_left(download, respond, waited):
    hasty = HttpClient(attempts=2, read_timeout_s=0.05, sleep=waited.append)
    with pytest.raises(HttpError, match="the server fell silent, at the last of 2 attempts"):
        download(respond.silent, respond.silent, client=hasty)


def test_a_host_that_is_not_there_is_named_in_words_that_stay_the_same(client, waited):
    reasons = set()
    for _ in range(2):
        with pytest.raises(HttpError) as caught:
            client.version("http://127.0.0.1:9/file")
        reasons.add(str(caught.value))
    assert reasons == {"http://127.0.0.1:9/file: no connection, at the last of 5 attempts"}


def test_a_range_is_exactly_what_was_asked_for(client, server, respond):
    server.files["/file"] = CONTENT
    server.script["/file"] = [respond.status(500), respond.truncated(3)]
    assert client.read(f"{server.url}/file", 300, 50) == CONTENT[300:350]
    server.script["/file"] = [respond.ignoring_ranges]
    with pytest.raises(HttpError, match="does not answer ranges"):
        client.read(f"{server.url}/file", 300, 50)
    with pytest.raises(HttpError, match=r"the range has 10 bytes and not 20"):
        client.read(f"{server.url}/file", len(CONTENT) - 10, 20)


def test_a_body_in_chunks_without_a_length_is_read_to_its_end(download):
    def chunked(handler, content):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(content), 100_000):
            piece = content[start : start + 100_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    assert download(chunked) == CONTENT


def test_one_connection_serves_many_ranges(client, server):
    server.files["/file"] = CONTENT
    for start in range(0, 100_000, 1000):
        assert client.read(f"{server.url}/file", start, 1000) == CONTENT[start : start + 1000]
    assert server.connections == 1
