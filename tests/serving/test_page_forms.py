"""The page in a real browser: long texts, narrow windows and the form for the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.conftest import EXAMPLE, Server, start_server

sync_api = pytest.importorskip("playwright.sync_api")
PHONE = {"width": 390, "height": 844}


def wide(page: sync_api.Page) -> bool:
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return widths[0] > widths[1]


def test_a_long_word_and_the_addresses_of_the_api_fit_on_a_phone(
    page: sync_api.Page, server: Server
) -> None:
    page.set_viewport_size(PHONE)
    page.locator("#file").set_input_files(EXAMPLE)
    page.locator("#query").fill("x" * 200)
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#known-hint")).to_be_visible()
    assert not wide(page)
    page.get_by_role("button", name="When is it heard?").click()
    page.get_by_role("heading", name="When it is heard").wait_for()
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()
    assert not wide(page)
    page.goto(f"{server.url}/docs")
    page.get_by_role("heading", name="POST /v1/separate").wait_for()
    assert not wide(page)


def test_a_text_that_is_too_long_stays_in_the_field(page: sync_api.Page) -> None:
    page.locator("#file").set_input_files(EXAMPLE)
    page.locator("#query").fill("x" * 201)
    for button in ("Add", "Separate", "When is it heard?"):
        page.evaluate("document.getElementById('status').textContent = ''")
        page.get_by_role("button", name=button, exact=True).click()
        page.get_by_text("A query can have 200 characters; this one has 201.").wait_for()
    assert page.locator("#query").input_value() == "x" * 201
    assert page.locator("#queries li").count() == 0


def test_the_first_of_a_queue_is_next_and_what_is_only_rounding_is_silent(
    page: sync_api.Page,
) -> None:
    told: list[dict] = []

    def retell(route: sync_api.Route) -> None:
        if route.request.method != "GET":
            route.continue_()
            return
        status = route.fetch().json()
        if not told:
            status.update(state="waiting", ahead=0)
        for part in status["parts"]:
            part["level_dbfs"] = -192.9
        told.append(status)
        route.fulfill(json=status)

    page.locator("#file").set_input_files(EXAMPLE)
    page.locator("#query").fill("violin")
    page.route("**/v1/jobs/*", retell)
    # Everything that is said, however shortly.
    page.evaluate(
        """() => {
            window.said = [];
            const status = document.getElementById("status");
            const listen = () => window.said.push(status.textContent);
            new MutationObserver(listen).observe(status, { childList: true });
        }"""
    )
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()
    assert "Waiting: yours is next." in page.evaluate("window.said")
    assert page.locator("#parts .facts").first.text_content() == "silent"


def test_a_wrong_token_is_said_until_the_right_one_comes(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    server = start_server(tmp_path, "--token", "correct horse")
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(server.url)
        page.locator("#token").fill("wrong")
        page.get_by_role("button", name="Enter").click()
        sync_api.expect(page.get_by_role("alert")).to_have_text(
            "This is not the token of this server."
        )
        page.wait_for_timeout(300)
        assert page.get_by_role("alert").is_visible()
        page.locator("#token").fill("correct horse")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("Model: mini").wait_for()
    finally:
        context.close()
        server.stop()
