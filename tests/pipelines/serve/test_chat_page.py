"""The chat page in a real browser: Chromium without a window, driven by Playwright. Skipped if there is none."""

import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipelines.serve.conftest import NAME, Served

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 120_000
CLICK_NEW_AT_FIRST_TEXT = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("#turns > .assistant")?.textContent) return;
  observer.disconnect();
  document.querySelector("#new").click();
}).observe(document.querySelector("#turns"), {subtree: true, childList: true, characterData: true});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new tab. An error of the page's own script, or a request to another host, fails the test."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: "//127.0.0.1:" in request.url or faults.append(request.url))
    yield page
    context.close()
    assert faults == []


def turns(page: Any, role: str) -> Any:
    return page.locator(f"#turns > .{role}")


def say(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def wait_for_end(page: Any) -> None:
    page.get_by_role("button", name="Send").wait_for()


def test_an_answer_appears_and_the_next_turn_carries_it(page: Any, served: Served) -> None:
    bodies: list[Any] = []
    page.on("request", lambda request: request.method == "POST" and bodies.append(request.post_data_json))
    page.goto(served.base)
    page.get_by_text(NAME, exact=True).wait_for()
    page.fill("#temperature", "0")
    say(page, "Which row?")
    wait_for_end(page)
    answer = turns(page, "assistant").inner_text()
    assert answer and turns(page, "user").inner_text() == "Which row?"
    say(page, "And then?")
    wait_for_end(page)
    assert [message["role"] for message in bodies[1]["messages"]] == ["user", "assistant", "user"]
    assert bodies[1]["messages"][1]["content"].strip() == answer.strip()
    assert bodies[1]["stream"] is True and bodies[1]["temperature"] == 0


def test_stop_ends_an_answer_and_frees_its_slot(page: Any, served: Served) -> None:
    page.goto(served.base)
    page.get_by_text(NAME, exact=True).wait_for()
    with page.expect_event("requestfailed") as aborted:
        say(page, "Which row?")
        page.get_by_role("button", name="Stop").click()
    assert "chat/completions" in aborted.value.url
    wait_for_end(page)
    deadline = time.monotonic() + 60
    while served.service.engine.num_requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_new_chat_begins_without_the_old_one(page: Any, served: Served) -> None:
    """Also if an answer of the old one has begun and not ended."""
    bodies: list[Any] = []
    page.on("request", lambda request: request.method == "POST" and bodies.append(request.post_data_json))
    page.goto(served.base)
    page.get_by_text(NAME, exact=True).wait_for()
    page.evaluate(CLICK_NEW_AT_FIRST_TEXT)
    say(page, "Which row?")
    page.wait_for_function("document.querySelector('#turns').childElementCount === 0")
    wait_for_end(page)
    assert turns(page, "user").count() == turns(page, "assistant").count() == 0
    say(page, "Another?")
    wait_for_end(page)
    assert bodies[-1]["messages"] == [{"role": "user", "content": "Another?"}]


def test_text_of_a_model_is_shown_as_text(page: Any, served: Served) -> None:
    page.goto(served.base)
    page.get_by_text(NAME, exact=True).wait_for()
    mark = "<img src=x onerror=alert(1)>"
    say(page, mark)
    assert turns(page, "user").inner_text() == mark
    assert page.locator("#turns img").count() == 0
    wait_for_end(page)


def test_a_refused_message_shows_the_error_and_is_not_part_of_the_chat(page: Any, served: Served) -> None:
    page.goto(served.base)
    page.get_by_text(NAME, exact=True).wait_for()
    say(page, "row " * 3000)
    error = turns(page, "error")
    error.wait_for()
    assert re.search("context|positions", error.inner_text())
    assert page.evaluate("messages.length") == 0


def test_the_page_asks_for_the_token_once(page: Any, guarded: Served) -> None:
    asked = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.accept("secret")

    page.on("dialog", answer)
    page.goto(guarded.base)
    page.get_by_text(NAME, exact=True).wait_for()
    say(page, "Which row?")
    wait_for_end(page)
    assert len(asked) == 1 and turns(page, "assistant").count() == 1
