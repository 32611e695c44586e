"""Laws of the image-only encoder: any image has features, no text has."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipsep.errors import UsageError
from clipsep.queries import load_query_encoder


def test_images_have_features_and_texts_have_none():
    encoder = load_query_encoder("efficientnet")
    assert encoder.id == load_query_encoder(encoder.id).id
    images = [Image.new("RGB", (300, 200), "red"), Image.new("L", (1, 1)), Image.new("P", (9, 9))]
    features = encoder.encode_images(images)
    assert features.shape == (3, encoder.dim) and features.dtype == np.float32
    alone = np.concatenate([encoder.encode_images([image]) for image in images])
    assert np.abs(features - alone).max() < 1e-4
    assert encoder.encode_images([]).shape == (0, encoder.dim)
    with pytest.raises(UsageError, match="with an image"):
        encoder.encode_texts(["dog"])
