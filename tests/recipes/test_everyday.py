"""The recipe for everyday sounds: what scenes hold, and that a training ends in a checkpoint."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch.nn import functional as F

from clipsep.checkpoint import load_checkpoint
from clipsep.models.registry import build_model
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.spectral import SpectralSettings
from recipes.everyday.labels import absent_cost, label_map_cost
from recipes.everyday.pack import AUDIO, EMBEDDINGS, INDEX, read_rows
from recipes.everyday.pupil import Pupil
from recipes.everyday.scenes import Scenes, SceneSettings
from recipes.everyday.slots import slot_cost
from recipes.everyday.train import RunSettings, train

LABELS = ["dog barking", "rain", "siren", "traffic", "wolf howling"]
DIM = 8
SPECTRAL = SpectralSettings(n_fft=256, hop_length=64, n_bands=32, segment_frames=32)
FOLDER = Path(__file__).parents[2] / "recipes" / "everyday"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    generator = np.random.default_rng(0)
    places, blob = [], b""
    for number, label in enumerate(LABELS):
        for split, seconds in (("train", 1.0), ("train", 0.2), ("val", 0.5)):
            time = np.arange(int(16_000 * seconds)) / 16_000
            content = io.BytesIO()
            tone = 0.5 * np.sin(2 * np.pi * 300 * (number + 1) * time)
            soundfile.write(content, tone, 16_000, format="FLAC")
            path = f"audio/{split}/{label}/{seconds}.flac"
            size = len(content.getvalue())
            places.append(
                {"path": path, "label": label, "split": split, "part": 0, "offset": len(blob), "size": size}
            )  # fmt: skip
            blob += content.getvalue()
    (folder / AUDIO.format(0)).write_bytes(blob)
    pair = {
        "target": "audio/val/siren/0.5.flac",
        "interferer": "audio/val/rain/0.5.flac",
        "target_start": "0",
        "interferer_start": "100",
        "label": "siren",
        "interferer_label": "rain",
    }
    wordings = [label for label in LABELS for _ in range(2)]
    images = [label for label in LABELS[:3] for _ in range(4)]
    index = {
        "audio": places,
        "labels": LABELS,
        "asked": LABELS,
        "wordings": wordings,
        "images": {"train": images, "val": images},
        "groups": {"dog barking": [0], "wolf howling": [0]},
        "pairs": {"pairs_val": [pair]},
        "encoder": "embedded-v2",
    }
    (folder / INDEX).write_text(json.dumps(index))

    def rows(labels: list[str]) -> np.ndarray:
        # Nearly orthogonal embeddings, one axis for each label.
        place = [LABELS.index(label) for label in labels]
        noise = 0.01 * generator.standard_normal((len(labels), DIM))
        return (np.eye(DIM)[place] + noise).astype(np.float16)

    np.savez(
        folder / EMBEDDINGS,
        labels=rows(LABELS),
        wordings=rows(wordings),
        images_train=rows(images),
        images_val=rows(images),
    )
    return folder


def scenes(pack: Path, **settings) -> Scenes:
    return Scenes(pack, SceneSettings(query_noise=0.0, **settings), SPECTRAL, "cpu", seed=1)


def test_what_is_asked_for_is_there_or_its_target_is_empty(pack: Path):
    drawn = scenes(pack, bed_prob=0.5, absent_prob=0.3).draw(64)
    empty = drawn.targets.energy == 0
    assert empty.any() and not empty.all()
    assert (drawn.targets.mask[empty] == 0).all() and (drawn.targets.cross[empty] == 0).all()
    assert (drawn.weight[~empty] == 1).all() and (drawn.weight[empty] <= 0.5).all()
    assert all(part.isfinite().all() for part in drawn.targets)


def test_no_two_sounds_of_a_scene_are_alike_and_absent_ones_are_unlike_all(pack: Path):
    source = scenes(pack, n_sounds=(0.0, 0.0, 0.0, 0.5, 0.5), bed_prob=1.0)
    clip, sounding = source._clips(256, 5)
    label = [[source.labels[i] for i in row] for row in source.clip_label[clip].tolist()]
    group = {"dog barking": "canine", "wolf howling": "canine"}
    for names, there in zip(label, sounding.tolist(), strict=True):
        kinds = [group.get(name, name) for name, sounds in zip(names, there, strict=True) if sounds]
        assert len(set(kinds)) == len(kinds)
    absent, certain = source._absent(clip, sounding, 3)
    there = source._alike(absent, clip) & sounding[:, None]
    assert not (there.any(dim=-1) & certain).any()


def test_a_query_is_that_of_its_sound(pack: Path):
    drawn = scenes(pack, n_sounds=(0.0, 1.0), bed_prob=0.0, absent_prob=0.0, n_queries=1).draw(64)
    loudest = drawn.targets.power[:, 0].sum(dim=-1).argmax(dim=-1)  # band of the tone
    asked = drawn.query[:, 0].argmax(dim=-1)
    mean = [loudest[asked == label].float().mean() for label in range(len(LABELS))]
    assert sorted(mean) == mean  # higher tones for later labels, whatever their speed


def test_labels_that_are_left_out_are_not_learnt(pack: Path):
    source = scenes(pack, left_out=("siren",))
    assert "siren" not in source.labels
    assert len(source.clip_label) == 2 * (len(LABELS) - 1)
    assert source.draw(32).query[..., LABELS.index("siren")].abs().max() < 0.1


def test_by_images_the_labels_serve_to_make_videos_alone(pack: Path):
    source = scenes(pack, by_images=True, n_sounds=(0.0, 0.0, 1.0), n_queries=2, bed_prob=0.0)
    source.label_text.fill_(torch.nan)
    source.wording.fill_(torch.nan)
    source.alike.fill_(True)
    drawn = source.draw(64)
    assert drawn.query.isfinite().all()
    # Labels without images show nothing, so their recordings are no videos.
    assert drawn.query.argmax(dim=-1).max() < 3
    assert (drawn.targets.energy > 0).float().mean() > 0.5


def test_absent_labels_are_unlike_all_that_is_there(pack: Path):
    source = scenes(pack, n_sounds=(0.0, 0.2, 0.4, 0.4), bed_prob=0.5, absent_prob=0.3)
    drawn = source.draw(128)
    absent = drawn.absent.gather(1, drawn.label)
    assert not (absent & drawn.there).any()
    assert not (absent & (drawn.targets.energy > 0)).any()
    # Dogs and wolves are alike: where one is there, nothing is known of the other.
    alike = drawn.absent[:, [LABELS.index("dog barking"), LABELS.index("wolf howling")]]
    assert (alike[:, 0] == alike[:, 1]).all() and alike.any() and not alike.all()
    assert scenes(pack, n_sounds=(1.0,), bed_prob=0.0).draw(8).absent.all()


def test_the_label_map_learns_shares_of_energy_and_nothing_of_labels_that_are_not_known(pack: Path):
    drawn = scenes(pack, n_sounds=(0.0, 0.0, 1.0), bed_prob=0.5, absent_prob=0.3).draw(32)
    stride = 8
    power = F.avg_pool2d(drawn.targets.power, stride) + 1e-9
    share = (F.avg_pool2d(drawn.targets.cross, stride) / power).clamp(1e-4, 1 - 1e-4)
    right = torch.full((32, len(LABELS), 4, 4), -9.0)
    for item, query in drawn.there.nonzero().tolist():
        right[item, drawn.label[item, query]] = share[item, query].logit()
    wrong = right.roll(1, dims=1)
    assert label_map_cost(right, drawn) < label_map_cost(wrong, drawn)
    logits = right.clone().requires_grad_()
    label_map_cost(logits, drawn).backward()
    asked = torch.zeros_like(drawn.absent)
    for item, query in drawn.there.nonzero().tolist():
        asked[item, drawn.label[item, query]] = True
    learnt = logits.grad.abs().sum(dim=(2, 3)) > 0
    assert not (learnt & ~(asked | drawn.absent)).any()
    assert logits.grad.abs().max() < 0.02  # so the right answer is the best one


def test_masks_of_absent_labels_become_empty_and_the_others_are_left_alone(pack: Path):
    drawn = scenes(pack).draw(16)
    logits = torch.zeros(16, len(drawn.others), 2, 3, requires_grad=True)
    absent_cost(logits, drawn).backward()
    absent = drawn.absent[:, drawn.others]
    assert (logits.grad[absent] > 0).all() and (logits.grad[~absent] == 0).all()


def test_slots_may_find_the_sounds_in_any_order_and_others_besides(pack: Path):
    drawn = scenes(pack, n_sounds=(0.2, 0.3, 0.3, 0.2), absent_prob=0.3).draw(32)
    masks = torch.where(drawn.targets.mask > 0.5, 5.0, -5.0)
    spare = torch.full_like(masks[:, :1], 5.0)
    right = slot_cost(torch.cat([masks, spare], 1), drawn)
    torch.testing.assert_close(slot_cost(torch.cat([spare, masks.flip(1)], 1), drawn), right)
    assert right < slot_cost(torch.cat([masks[:, :1], spare, spare, spare], 1), drawn) - 0.1
    silent = scenes(pack, n_sounds=(1.0,), bed_prob=0.0).draw(8)
    assert slot_cost(torch.zeros(8, 4, 32, 32), silent) == 0


def test_slots_and_what_they_look_at_learn_to_find_sounds(pack: Path):
    source = scenes(pack, n_sounds=(0.0, 0.0, 1.0), bed_prob=0.0)
    settings = tiny(slots_weight=1.0)
    torch.manual_seed(0)
    pupil = Pupil(build_model(settings.model, 32), source.label_text, slots_weight=1.0)
    optimizer = torch.optim.Adam(pupil.parameters(), lr=0.01)

    @torch.no_grad()
    def cost() -> torch.Tensor:
        drawn = source.draw(8)
        network, model = pupil.model.network, pupil.model
        levels = network(drawn.targets.log_mixture)
        every = network.seek(network.decode(levels), model.query_weights(drawn.query), levels[0])
        return slot_cost(every[-1][:, :3], drawn)

    before = float(cost())
    for _ in range(60):
        _, extra = pupil(source.draw(8))
        extra.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(cost()) < before - 0.1, (before, float(cost()))


def tiny(**losses: float) -> RunSettings:
    slots = 3 if "slots_weight" in losses else 0
    network = PatchUNetSettings(
        widths=(4, 8), patch=2, attention=1, gated_head=True, slots=slots, slot_steps=2
    )
    return RunSettings(
        name="tiny",
        model=ModelSettings(
            network=network, query_dim=DIM, query_hidden=8, query_activation="none"
        ),
        spectral=SPECTRAL,
        batch_size=4,
        steps=3,
        compile=False,
        **losses,
    )


@pytest.mark.parametrize("losses", [("label_map", "others"), ("slots",), ()])
def test_a_training_ends_in_a_checkpoint(pack: Path, tmp_path: Path, losses: tuple[str, ...]):
    settings = tiny(**{f"{loss}_weight": 0.5 for loss in losses})
    train(pack, settings, tmp_path / "run", "cpu", init=None)
    stored = load_checkpoint(tmp_path / "run")
    config = stored.config
    assert stored.model.state_dict().keys() == build_model(config.model, 32).state_dict().keys()
    assert config.name == "tiny" and config.known_sounds == LABELS
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["mixtures"] == 12


def test_another_training_goes_on_or_takes_over_what_fits(pack: Path, tmp_path: Path, capsys):
    settings = tiny(label_map_weight=0.5)
    train(pack, settings, tmp_path / "run", "cpu", init=None)
    assert "from" not in capsys.readouterr().out
    train(pack, settings, tmp_path / "same", "cpu", init=tmp_path / "run")
    assert "going on from" in capsys.readouterr().out
    first, second = (
        torch.load(tmp_path / run / "learning.pt", weights_only=True) for run in ("run", "same")
    )
    steps = [state["optimizer"]["state"][0]["step"] for state in (first, second)]
    assert steps == [3, 6]
    train(pack, tiny(), tmp_path / "other", "cpu", init=tmp_path / "run")
    printed = capsys.readouterr().out
    assert "going on" not in printed and "tensors from" in printed


def test_slots_learn_at_their_own_rate_and_are_enough_for_the_queries(pack: Path, tmp_path: Path):
    train(pack, tiny(slots_weight=1.0, slots_rate=0.0), tmp_path / "run", "cpu", init=None)
    torch.manual_seed(0)
    fresh = build_model(tiny(slots_weight=1.0).model, 32).state_dict()
    learnt = load_checkpoint(tmp_path / "run").model.state_dict()
    moved = {name for name in fresh if not torch.equal(fresh[name].half().float(), learnt[name])}
    assert moved and not any(".slots." in name for name in moved)
    with pytest.raises(ValueError, match="a slot for each query"):
        tiny(slots_weight=1.0).model_validate(
            {**tiny(slots_weight=1.0).model_dump(), "scenes": {"n_queries": 4}}
        )


def test_labels_help_no_training_by_images():
    settings = yaml.safe_load((FOLDER / "mini.yaml").read_text())
    settings["scenes"] = {**settings.get("scenes", {}), "by_images": True}
    RunSettings(**settings)
    with pytest.raises(ValueError, match="need labels"):
        RunSettings(**settings, label_map_weight=0.2)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_builds(path: Path):
    RunSettings(**yaml.safe_load(path.read_text()))


def test_wordings_name_one_sound_each():
    rows = read_rows(FOLDER / "wordings.csv")
    wordings = [row["wording"].casefold() for row in rows]
    assert len(set(wordings)) == len(wordings)
    labels = {row["label"] for row in rows}
    assert not labels & set(wordings)
    for label in labels:
        splits = [row["split"] for row in rows if row["label"] == label]
        assert splits.count("train") >= 7 and splits.count("test") == 3
