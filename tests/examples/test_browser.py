"""The page that separates in the browser gives what Python gives, in headless Chromium."""

from __future__ import annotations

import base64
import functools
import importlib.util
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from clipsep import Separator
from clipsep.media import read_audio
from clipsep.queries.embedded.files import TOKENIZER, read_asset
from clipsep.queries.embedded.wordpiece import WordPieceTokenizer
from tests.helpers.browser import CHROMIUM, NO_CHROMIUM

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "examples" / "browser"
EXAMPLE = REPOSITORY / "examples" / "speech-and-violin.flac"
MODULES = Path(os.environ.get("CLIPSEP_NODE_MODULES", PAGE / "node_modules"))
TEXTS = ["person speaking", "violin"]
playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    pytest.mark.skipif(
        not (MODULES / "onnxruntime-web").is_dir(),
        reason="no onnxruntime-web: npm ci --prefix examples/browser",
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    spec = importlib.util.spec_from_file_location("build", PAGE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(folder, modules=MODULES)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with playwright.sync_playwright() as running:
            browser = running.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            tab = browser.new_page()
            tab.set_default_timeout(120_000)  # a busy machine still gets there
            tab.goto(f"http://127.0.0.1:{server.server_port}/index.html")
            yield tab
            browser.close()
        server.shutdown()


def samples_of(page, expression: str) -> np.ndarray:
    """Float32 samples of the page, [T]."""
    text = page.evaluate(
        f"""() => {{
            const bytes = new Uint8Array(({expression}).buffer);
            let text = "";
            for (let i = 0; i < bytes.length; i += 32768)
                text += String.fromCharCode(...bytes.subarray(i, i + 32768));
            return btoa(text);
        }}"""
    )
    return np.frombuffer(base64.b64decode(text), np.float32)


@pytest.fixture(autouse=True)
def opened_anew(page):
    """Tests run in any order, and leave queries and sizes behind."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.reload()


def test_the_browser_gives_what_python_gives(page):
    asked = []
    page.on("request", lambda request: asked.append((request.method, request.url)))
    page.click("#example")
    page.wait_for_function("document.getElementById('status').textContent.includes('example')")
    page.click("#separate")
    page.wait_for_function("window.separated || document.querySelector('.error')", timeout=600_000)
    status = page.text_content("#status")
    assert "times real time" in status, status
    mixture, rate = read_audio(EXAMPLE)
    expected = Separator(overlap=0.125).separate(mixture, rate, TEXTS)
    for number, text in enumerate(TEXTS):
        for channel, samples in enumerate(expected.targets[text]):
            ours = samples_of(page, f"window.separated.targets[{number}].channels[{channel}]")
            assert ours.shape == samples.shape
            assert np.abs(ours - samples).max() < 1e-3
        feedback = expected.feedback[text]
        target = page.evaluate(
            f"(({{level, nearest, confidence}}) => ({{level, nearest, confidence}}))"
            f"(window.separated.targets[{number}])"
        )
        assert target["level"] == feedback.familiarity.level
        assert target["nearest"] == list(feedback.familiarity.nearest)
        # It counts logits in steps of a tenth, each worth 0.002 here, which tiny differences can cross.
        assert abs(target["confidence"] - feedback.confidence) < 1e-2
    assert all(method == "GET" for method, _ in asked)  # nothing leaves the browser
    assert page.locator("#parts li").count() == 3


def test_the_known_sounds_are_listed_and_can_be_picked(page):
    known = Separator().config.known_sounds
    page.fill("#queries", "")
    page.wait_for_selector("#known summary")
    page.evaluate("document.querySelector('#known').open = true")
    assert page.locator("#known button").all_text_contents() == known
    page.get_by_role("button", name=f"Add {known[0]}", exact=True).press("Enter")
    page.wait_for_function("document.querySelector('#levels .known')")
    assert page.input_value("#queries") == known[0]
    assert page.locator("#levels li").all_text_contents() == [f"{known[0]}: known"]


def test_queries_are_known_near_or_unknown_as_in_python(page):
    texts = ["violin", "puppy yapping", "squeezebox", "theremin", "quarterly report", "Ω-3 🎻 §5"]
    told = Separator().encode(texts).familiarity
    assert {one.level for one in told} == {"known", "near", "unknown"}
    page.fill("#queries", ", ".join(texts))
    page.press("#queries", "Tab")
    page.wait_for_function(f"document.querySelectorAll('#levels strong').length == {len(texts)}")
    expected = [
        f"{text}: {one.level}"
        + ("" if one.level == "known" else f", nearest known: {', '.join(one.nearest)}")
        for text, one in zip(texts, told, strict=True)
    ]
    assert page.locator("#levels li").all_text_contents() == expected


def test_the_first_click_after_a_change_of_the_queries_counts(page):
    """The field loses the focus between mousedown and mouseup: the button must stay where it is."""
    page.wait_for_selector("#known summary")
    before = page.locator("#separate").bounding_box()
    page.fill("#queries", "violin, rain")
    page.mouse.move(before["x"] + 10, before["y"] + 3)
    page.mouse.down()
    page.wait_for_function("document.querySelector('#levels li')")
    assert page.locator("#separate").bounding_box() == before
    page.mouse.up()
    page.wait_for_function("document.getElementById('status').textContent.includes('recording')")


def test_the_example_takes_the_place_of_a_file_and_nothing_is_missing(page):
    missing = []
    page.on("response", lambda answer: answer.status == 404 and missing.append(answer.url))
    page.reload()
    page.set_input_files("#file", EXAMPLE)
    page.click("#example")
    page.wait_for_function("document.getElementById('status').textContent.includes('example')")
    assert page.input_value("#file") == ""
    icon = page.evaluate("fetch(document.querySelector('link[rel=icon]').href).then((a) => a.ok)")
    assert icon and not missing


def test_tokens_are_those_of_python(page):
    texts = [
        "dog barking",
        "Café crème!",
        "鳥の声 chirping",
        "naïve  straße\tnoise",
        "x" * 150,
        "Ω-3 🎻 §5",
    ]
    tokenize = WordPieceTokenizer(read_asset(TOKENIZER), 256)
    ours = page.evaluate(
        """async (texts) => {
            const { WordPiece } = await import("./wordpiece.js");
            const words = new WordPiece(await (await fetch("encoder/tokenizer.json")).json());
            return texts.map((text) => words.encode(text));
        }""",
        texts,
    )
    assert ours == [tokenize(text) for text in texts]


def test_transforms_are_numpys(page):
    signal = np.random.default_rng(0).standard_normal(2880)
    found = page.evaluate(
        """async (signal) => {
            const { FFT } = await import("./fft.js");
            const fft = new FFT(signal.length), back = new Float64Array(signal.length);
            fft.forward(signal);
            const half = signal.length / 2 + 1;
            const re = [...fft.re.slice(0, half)], im = [...fft.im.slice(0, half)];
            fft.inverse(re, im, back);
            return [re, im, [...back]];
        }""",
        signal.tolist(),
    )
    expected = np.fft.rfft(signal)
    np.testing.assert_allclose(found[0], expected.real, atol=1e-9)
    np.testing.assert_allclose(found[1], expected.imag, atol=1e-9)
    np.testing.assert_allclose(found[2], signal, atol=1e-12)


def test_nothing_is_wider_than_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("document.querySelector('#known').open = true")
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]
