"""The page in a real browser: what sounds at one time, and what goes when the recording changes."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving.conftest import EXAMPLE, Server, film, start_server, tone

sync_api = pytest.importorskip("playwright.sync_api")
PAUSED = ("paused", True)
PLAYING = ("paused", False)


def separate(page: sync_api.Page, file: Path, query: str = "violin") -> None:
    page.locator("#file").set_input_files(file)
    page.locator("#query").fill(query)
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()


def play(player: sync_api.Locator) -> None:
    player.evaluate("player => player.play()")
    sync_api.expect(player).to_have_js_property(*PLAYING)


def test_one_thing_sounds_at_a_time(page: sync_api.Page, tmp_path: Path) -> None:
    separate(page, film(tmp_path / "film.webm", 20.0))
    video, parts, mix = (
        page.locator("#video"),
        page.locator("#parts audio"),
        page.locator("#play-mix"),
    )
    watch = page.get_by_label("Watch the video with")
    # With its own audio: whoever starts last sounds.
    play(video)
    play(parts.nth(1))
    sync_api.expect(video).to_have_js_property(*PAUSED)
    play(video)
    sync_api.expect(parts.nth(1)).to_have_js_property(*PAUSED)
    mix.click()
    sync_api.expect(video).to_have_js_property(*PAUSED)
    sync_api.expect(mix).to_have_attribute("aria-pressed", "true")
    play(video)
    sync_api.expect(mix).to_have_attribute("aria-pressed", "false")
    # With a part: the part plays along, until another one wins.
    watch.select_option(label="violin")
    sync_api.expect(parts.nth(1)).to_have_js_property(*PLAYING)
    play(parts.nth(2))
    for player in (video, parts.nth(1)):
        sync_api.expect(player).to_have_js_property(*PAUSED)
    page.wait_for_timeout(500)  # the video would start its part again
    assert parts.nth(1).evaluate("audio => audio.paused")
    play(video)
    sync_api.expect(parts.nth(2)).to_have_js_property(*PAUSED)
    sync_api.expect(parts.nth(1)).to_have_js_property(*PLAYING)
    mix.click()
    for player in (video, parts.nth(1)):
        sync_api.expect(player).to_have_js_property(*PAUSED)
    play(video)
    sync_api.expect(parts.nth(1)).to_have_js_property(*PLAYING)
    parts.nth(1).evaluate("audio => audio.pause()")
    sync_api.expect(video).to_have_js_property(*PAUSED)


def test_the_recordings_own_player_takes_turns_with_the_parts(page: sync_api.Page) -> None:
    separate(page, EXAMPLE)
    own, part = page.locator("#source-audio"), page.locator("#parts audio").nth(1)
    play(own)
    play(part)
    sync_api.expect(own).to_have_js_property(*PAUSED)
    play(own)
    sync_api.expect(part).to_have_js_property(*PAUSED)


def test_another_recording_takes_the_results_away(page: sync_api.Page, tmp_path: Path) -> None:
    deleted: list[str] = []
    page.on("request", lambda one: one.method == "DELETE" and deleted.append(one.url))
    separate(page, film(tmp_path / "film.webm"))
    page.get_by_role("button", name="When is it heard?").click()
    page.get_by_role("heading", name="When it is heard").wait_for()
    assert len(deleted) == 1  # what was found is on the page
    page.get_by_label("Watch the video with").select_option(label="violin")
    assert page.locator("#video").evaluate("video => video.muted")
    page.locator("#clear-source").click()
    for name in ("#result", "#found", "#watch"):
        sync_api.expect(page.locator(name)).to_be_hidden()
    assert not page.locator("#video").evaluate("video => video.muted")
    assert len(deleted) == 2


def test_the_work_stops_with_its_recording_and_with_the_page(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    (tmp_path / "long.wav").write_bytes(tone(300.0))
    server = start_server(tmp_path)
    context = browser.new_context()

    def unfinished() -> bool:
        return any(httpx.get(f"{server.url}/health").json()[one] for one in ("running", "waiting"))

    def wait_until_idle() -> None:
        for _ in range(200):
            if not unfinished():
                return
            page.wait_for_timeout(100)
        raise AssertionError("the work goes on")

    try:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        for button, leave in (
            ("Separate", lambda: page.locator("#file").set_input_files(EXAMPLE)),
            ("When is it heard?", lambda: page.goto("about:blank")),
        ):
            page.locator("#file").set_input_files(tmp_path / "long.wav")
            page.locator("#query").fill("rain")
            page.get_by_role("button", name=button).click()
            said = "Separating" if button == "Separate" else "Searching"
            page.locator("#status", has_text=said).wait_for()
            assert unfinished()
            leave()
            wait_until_idle()
            if button == "Separate":
                page.get_by_text("Cancelled.").wait_for()
    finally:
        context.close()
        server.stop()


def test_a_result_that_is_not_kept_is_said_and_not_downloaded(
    page: sync_api.Page, server: Server
) -> None:
    separate(page, EXAMPLE)
    address = page.locator("#zip").get_attribute("href")
    httpx.delete(f"{server.url}/{address.removesuffix('/archive')}")
    downloads: list[object] = []
    page.on("download", lambda one: downloads.append(one))
    for press in (page.get_by_text("Mix as WAV"), page.get_by_role("button", name="Play the mix")):
        page.evaluate("document.getElementById('status').textContent = ''")
        press.click()
        page.get_by_text("This result is not kept any more: separate again.").wait_for()
    assert not downloads


def test_a_video_that_holds_audio_alone_is_a_sound(page: sync_api.Page, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "audio.webm"), "w") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    page.locator("#file").set_input_files(
        {
            "name": "a.webm",
            "mimeType": "video/webm",
            "buffer": (tmp_path / "audio.webm").read_bytes(),
        }
    )
    sync_api.expect(page.locator("#source-audio")).to_be_visible()
    for name in ("#stage", "#frame-tools", "#source-hint"):
        sync_api.expect(page.locator(name)).to_be_hidden()


@pytest.mark.parametrize(
    ("kind", "words"),
    [("video/mp4", "cannot show this video"), ("audio/wav", "cannot play this file")],
)
def test_what_the_browser_cannot_show_can_be_separated_all_the_same(
    page: sync_api.Page, kind: str, words: str
) -> None:
    page.locator("#file").set_input_files(
        {"name": "film", "mimeType": kind, "buffer": b"of a kind that no browser knows"}
    )
    sync_api.expect(page.locator("#source-hint")).to_contain_text(words)
    for name in ("#stage", "#frame-tools", "#source-audio"):
        sync_api.expect(page.locator(name)).to_be_hidden()
    page.locator("#clear-source").click()
    sync_api.expect(page.locator("#source-hint")).to_be_hidden()
