"""The page in a real browser, without a window: upload, queries, a box on a frame, play, download.

Needs Playwright and a Chromium of the system (Debian: apt-get install chromium); skipped without.
"""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.browser import CHROMIUM, NO_CHROMIUM
from tests.serving.conftest import DESKTOP, EXAMPLE, Server, film, start_server, tone

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
PHONE = {"width": 375, "height": 740}


def separate(page: sync_api.Page) -> None:
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()


def downloaded(page: sync_api.Page, link: sync_api.Locator) -> tuple[str, bytes]:
    with page.expect_download() as download:
        link.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def samples(data: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(data))[0]


def test_a_recording_is_separated_played_mixed_and_downloaded(page: sync_api.Page) -> None:
    page.locator("#file").set_input_files(EXAMPLE)
    # By keyboard alone: Enter adds a query, Enter in the empty field starts.
    page.locator("#query").press_sequentially("violin")
    page.keyboard.press("Enter")
    page.locator("#query").press_sequentially("person speaking")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Listen").wait_for()
    names = page.locator("#parts .name").all_text_contents()
    assert names == ["The recording", "violin", "person speaking", "Everything else"]
    parts = page.locator("#parts > li")
    name, violin = downloaded(page, parts.nth(1).get_by_text("WAV"))
    assert name == "speech-and-violin.violin.wav"
    others = [samples(downloaded(page, parts.nth(i).get_by_text("WAV"))[1]) for i in (2, 3)]
    mixture = soundfile.read(EXAMPLE)[0]
    np.testing.assert_allclose(samples(violin) + sum(others), mixture, atol=1e-5)

    # Playing one part stops another, and goes on at its moment.
    players = page.locator("#parts audio")
    players.nth(1).evaluate("audio => { audio.currentTime = 5; return audio.play(); }")
    players.nth(2).evaluate("audio => audio.play()")
    players.nth(2).evaluate(
        "audio => new Promise(heard => audio.addEventListener("
        "'timeupdate', () => audio.currentTime > 5 && heard()))"
    )
    assert players.nth(1).evaluate("audio => audio.paused")
    players.nth(2).evaluate("audio => audio.pause()")

    # The pictures are there.
    for image in page.locator("#parts img").all():
        image.scroll_into_view_if_needed()
        sync_api.expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0

    # The mix: the violin alone, 6 dB louder.
    for number, presses in ((1, 6), (2, 0), (3, 0)):
        slider = parts.nth(number).locator("input[type=range]")
        slider.focus()
        if presses:
            for _ in range(presses):
                slider.press("ArrowRight")
        else:
            slider.press("Home")
    assert parts.nth(1).locator("output").text_content() == "+6 dB"
    assert parts.nth(2).locator("output").text_content() == "off"
    name, mix = downloaded(page, page.get_by_text("Mix as WAV"))
    assert name == "speech-and-violin.mix.wav"
    np.testing.assert_allclose(samples(mix), 10 ** (6 / 20) * samples(violin), atol=1e-5)
    page.get_by_role("button", name="Play the mix").click()
    page.get_by_role("button", name="Stop the mix").click()
    assert downloaded(page, page.get_by_text("All parts as ZIP"))[1][:2] == b"PK"


def test_a_box_on_a_video_frame_is_a_query(page: sync_api.Page, tmp_path: Path) -> None:
    page.locator("#file").set_input_files(film(tmp_path / "film.webm"))
    sync_api.expect(page.locator("#video")).to_have_js_property("readyState", 4)
    page.get_by_role("button", name="Pick from this frame").click()
    area = page.locator("#frame-area").bounding_box()
    # The left half of the frame, which is as wide as the area or has bars beside it.
    middle = area["x"] + area["width"] / 2
    page.mouse.move(middle - 60, area["y"] + 10)
    page.mouse.down()
    page.mouse.move(middle - 10, area["y"] + area["height"] - 10)
    page.mouse.up()
    page.get_by_role("button", name="Add the box as a query").click()
    thumbnail = page.locator("#queries img")
    thumbnail.wait_for()
    colour = thumbnail.evaluate(
        """image => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data];
        }"""
    )
    assert colour[0] > 150 and colour[2] < 80  # the red half alone
    separate(page)
    assert page.locator("#parts .name").all_text_contents()[1] == "image 1"
    # Watched with one part: the film is silent, and that part plays along.
    page.get_by_label("Watch the video with").select_option(label="image 1")
    sync_api.expect(page.locator("#parts audio").nth(1)).to_have_js_property("paused", False)
    assert page.locator("#video").evaluate("video => video.muted")


def test_a_failure_is_said_and_the_page_goes_on(page: sync_api.Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Separate").click()
    assert page.get_by_role("status").text_content() == "Choose a recording first."
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    page.locator("#file").set_input_files(tmp_path / "bad.wav")
    page.locator("#query").fill("rain")
    page.get_by_role("button", name="Separate").click()
    page.get_by_text("is not a sound or video file").wait_for()
    with wave.open(str(tmp_path / "good.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000))
    page.locator("#file").set_input_files(tmp_path / "good.wav")
    separate(page)
    assert "silent" in page.locator("#parts .facts").first.text_content()


def test_a_sound_is_recorded_with_the_microphone(page: sync_api.Page) -> None:
    page.get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop recording").wait_for()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop recording").click()
    page.get_by_text("recording.webm").wait_for()
    page.locator("#query").fill("beep")
    separate(page)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_window(page: sync_api.Page, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    page.get_by_role("button", name="Use the example").click()
    page.locator("#queries li").nth(1).wait_for()
    separate(page)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]


def test_the_api_is_documented_without_foreign_scripts(page: sync_api.Page, server: Server) -> None:
    page.goto(f"{server.url}/docs")
    page.get_by_role("heading", name="POST /v1/separate").wait_for()


def test_a_sound_that_the_model_does_not_know_is_pointed_out(page: sync_api.Page) -> None:
    hint = page.locator("#known-hint")
    page.locator("#query").fill("a violin")
    page.keyboard.press("Enter")
    page.locator("#query").fill("Geige")
    page.keyboard.press("Enter")
    page.locator("#query").fill("quarterly report")
    page.keyboard.press("Enter")
    sync_api.expect(hint).to_contain_text("“quarterly report”: unknown; nearest known: ")
    assert "violin" not in hint.text_content().split(";")[0] and "Geige" not in hint.text_content()
    # Without an answer the page goes on.
    page.route("**/v1/familiarity*", lambda route: route.abort())
    page.locator("#query").fill("theremin")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove quarterly report").click()
    sync_api.expect(hint).to_be_hidden()


def test_the_page_says_when_a_sound_is_heard_and_plays_from_there(page: sync_api.Page) -> None:
    page.locator("#file").set_input_files(EXAMPLE)
    page.locator("#query").fill("violin")
    page.get_by_role("button", name="When is it heard?").click()
    page.get_by_role("heading", name="When it is heard").wait_for()
    assert page.locator("#found-sounds strong").all_text_contents() == ["violin"]
    page.locator("#found-sounds .spans button").first.click()
    assert page.locator("#source-audio").evaluate("audio => !audio.paused || audio.ended")


def test_the_sensitivity_goes_with_the_request(page: sync_api.Page) -> None:
    page.locator("#file").set_input_files(EXAMPLE)
    page.locator("#query").fill("violin")
    page.get_by_text("Options").click()
    slider = page.locator("#sensitivity")
    slider.focus()
    slider.press("End")
    assert page.locator("#sensitivity + output").text_content() == "0.95"
    # The browser shows no body with a file in it: look at the form before it is sent.
    page.evaluate(
        """() => {
            const send = XMLHttpRequest.prototype.send;
            XMLHttpRequest.prototype.send = function (form) {
                window.sensitivitySent = form.get("sensitivity");
                send.call(this, form);
            };
        }"""
    )
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()
    assert page.evaluate("window.sensitivitySent") == "0.95"


def test_a_second_user_waits_and_sees_the_place_in_the_queue(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    (tmp_path / "long.wav").write_bytes(tone(300.0))
    (tmp_path / "short.wav").write_bytes(tone(1.0))
    server = start_server(tmp_path)
    contexts = [browser.new_context(), browser.new_context()]
    try:
        first, second = (context.new_page() for context in contexts)
        for page, name in ((first, "long.wav"), (second, "short.wav")):
            page.set_default_timeout(120_000)
            page.goto(server.url)
            page.locator("#file").set_input_files(tmp_path / name)
            page.locator("#query").fill("rain")
            page.get_by_role("button", name="Separate").click()
            page.locator(
                "#status", has_text="Separating" if page is first else "Waiting"
            ).wait_for()
        said = second.locator("#status").text_content()
        assert said == "Waiting: one request comes before yours."
        assert second.locator("#progress").is_visible()
        assert "Separating" in first.locator("#status").text_content()
        # The first user gives up, and it is the second one's turn.
        first.get_by_role("button", name="Cancel").click()
        second.get_by_role("heading", name="Listen").wait_for()
        assert second.locator("#status").text_content() == "Done."
    finally:
        for context in contexts:
            context.close()
        server.stop()
