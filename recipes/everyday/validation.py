"""The scores on validation mixtures that a training logs."""

from __future__ import annotations

import torch
from torch import nn

from clipsep.models.transforms import apply_mask, log_magnitude, stft
from recipes.everyday.scenes import RMS, Scenes

_SAMPLES = 65_535


class Validation:
    """The fixed mixtures of a pack's validation lists, on the device."""

    def __init__(self, scenes: Scenes, name: str):
        rows = scenes.index["pairs"][name]
        samples, device = _SAMPLES, scenes.device

        def segment(path: str, start: str) -> torch.Tensor:
            recording = torch.from_numpy(scenes.recordings[path]).float() / 32768
            place = (int(start) + torch.arange(samples)) % len(recording)
            waveform = recording[place]
            return waveform * (RMS / (waveform.square().mean().sqrt() + 1e-8))

        self.target = torch.stack([segment(r["target"], r["target_start"]) for r in rows])
        other = torch.stack([segment(r["interferer"], r["interferer_start"]) for r in rows])
        self.mixture = (self.target + other).to(device)
        self.target = self.target.to(device)
        asked = scenes.index["asked"]
        number = {label: i for i, label in enumerate(asked)}
        text = scenes.tables["labels"]
        groups = scenes.index["groups"]
        queries = []
        for i, row in enumerate(rows):
            taken = {row["label"], row["interferer_label"]}
            near = {g for label in taken for g in groups.get(label, ())}
            absent = [
                label
                for label in scenes.labels
                if label not in taken and not near & set(groups.get(label, ()))
            ]
            queries.append([number[row["label"]], number[absent[i * 7919 % len(absent)]]])
        self.query = text[torch.tensor(queries, device=device)]  # [rows, 2, D]
        shown = scenes.index["images"]["val"]
        first = {label: i for i, label in reversed(list(enumerate(shown)))}
        self.with_image = [i for i, row in enumerate(rows) if row["label"] in first]
        self.image = scenes.tables["images_val"][[first[rows[i]["label"]] for i in self.with_image]]
        self.known = torch.tensor([row["label"] in scenes.labels for row in rows], device=device)
        self.scenes = scenes

    @torch.no_grad()
    def score(self, model: nn.Module) -> dict[str, float]:
        """SDR by text and by image, and the share of energy that an absent sound's query takes."""
        spectral = self.scenes.spectral
        sdr, leakage, by_image = [], [], []
        place = {row: i for i, row in enumerate(self.with_image)}
        for start in range(0, len(self.mixture), 32):
            mixture, target = (x[start : start + 32] for x in (self.mixture, self.target))
            query = self.query[start : start + 32]
            rows = [place.get(start + i) for i in range(len(mixture))]
            image = self.image[[row or 0 for row in rows]][:, None]
            spectrum = stft(mixture, spectral.n_fft, spectral.hop_length)
            log_mixture = log_magnitude(spectrum, spectral)[:, None]
            logits = model.query_logits(log_mixture, torch.cat([query, image], 1))
            mask = logits.float().sigmoid()
            estimate = apply_mask(spectrum[:, None], mask, spectral, mixture.shape[-1])
            energy = target.square().sum(-1, keepdim=True)
            ratio = energy / ((target[:, None] - estimate).square().sum(-1) + 1e-8)
            db = 10 * torch.log10(ratio)
            sdr.append(db[:, 0])
            by_image += [db[i, 2] for i, row in enumerate(rows) if row is not None]
            leakage.append(estimate[:, 1].square().sum(-1) / mixture.square().sum(-1))
        sdr, leakage, by_image = torch.cat(sdr), torch.cat(leakage), torch.stack(by_image)
        scores = {
            "sdr": sdr.mean(),
            "median": sdr.median(),
            "image": by_image.mean(),
            "absent": leakage.mean(),
        }
        if not self.known.all():
            scores["unseen"] = sdr[~self.known].mean()
        return {name: round(float(score), 3) for name, score in scores.items()}
