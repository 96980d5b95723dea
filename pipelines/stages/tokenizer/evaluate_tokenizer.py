"""evaluate_tokenizer: what the latent space keeps of pixels and of meaning, on held-out pictures.

Artifact: `metrics.json`, `reconstructions.png`. A figure that cannot be computed is absent, with its reason in
`metrics.absent`.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.tokenizer.spaces import find_space
from pipelines.config.declared import sent
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext
from pipelines.stages.evaluation import spread
from pipelines.stages.tokenizer.picture_batches import Pictures
from pipelines.stages.tokenizer.space_setup import load_image_text, load_space
from pipelines.tracking.figures import encoder_slug

GRID = 8  # pictures on the grid
PROBE_WORDS = 24  # words whose presence the probe tells
HOW = "Set evaluate_tokenizer.{}=fetch where there is a network, else to a path (conf/README.md)"
INPUTS = ("index", "train_encoder", "train_tokenizer")


def run(context: StageContext) -> None:
    """Evaluate in one worker task."""
    manifests = {name: context.inputs[name].manifest.to_json() for name in INPUTS}
    args = {"manifests": manifests, "config": sent(context.config)}
    (record,) = context.map_shards(
        "pipelines.stages.tokenizer.evaluate_tokenizer:evaluate", [ShardTask("evaluation", args)]
    )
    metrics = dict(record.metrics)
    absent = metrics.pop("absent")
    context.metrics["tokenizer"] = metrics
    context.metrics["absent"] = {f"tokenizer.{name}": reason for name, reason in absent.items()}


def evaluate(context: ShardContext) -> ShardResult:
    """Compute every figure and write the grid."""
    import torch

    from pipelines.store.artifacts import Artifact, Manifest

    config = context.task.args["config"].open()
    inputs = {
        name: Artifact(context.store, Manifest.from_json(value, name))
        for name, value in context.task.args["manifests"].items()
    }
    torch.set_num_threads(max(1, int(config.execution.resources.evaluate_tokenizer.cpus)))
    pictures = {
        held_out: Pictures.of_index(
            inputs["index"], functools.cache(context.fetch), ("picture", "target"), held_out, config.image_size,
            config.measure.limits,
        )
        for held_out in (True, False)
    }  # fmt: skip
    image_text, vocabulary = load_image_text(context.store, inputs["train_encoder"], context.scratch)
    tokenizer = load_space(context.store, inputs["train_tokenizer"], context.scratch)
    judge = Judge(
        config, tokenizer, image_text, vocabulary, pictures[True], pictures[False], context.seed, context.store
    )
    metrics = judge.metrics()
    judge.grid(context.file("reconstructions.png"))
    context.file("metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True), "utf-8")
    used = len(judge.numbers)
    counts = {"input": used, "kept": used, "dropped": 0, "failed": 0}
    return ShardResult(counts, metrics)


class Judge:
    """All figures of one tokenizer on held-out pictures."""

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        image_text: Any,
        vocabulary: Any,
        held_out: Pictures,
        train: Pictures,
        seed: int,
        store: Any,
    ) -> None:
        from components.training.machine import best_device

        self.config, self.tokenizer, self.image_text = config, tokenizer, image_text
        self.vocabulary, self.held_out, self.train, self.seed = vocabulary, held_out, train, seed
        self.store, self.inception = store, ""  # what Inception's weights are, once they are read
        self.settings = config.evaluate_tokenizer
        self.device = best_device()
        self.tokenizer.to(self.device)
        self.image_text.to(self.device)
        self.space, self.entry = config.tokenizer.model.space, find_space(config.tokenizer.model.space)
        self.numbers = spread(range(len(held_out)), self.settings.pictures)
        self.absent: dict[str, str] = {}

    def metrics(self) -> dict[str, Any]:
        """Return every figure; `absent` names those that could not be computed."""
        import torch

        values: dict[str, Any] = {}
        for figure, trains in FIGURES:
            with contextlib.nullcontext() if trains else torch.inference_mode():
                values |= figure(self)
        return values | {"space": self.space, "pictures": len(self.numbers), "absent": self.absent}

    def _batches(self, pictures: Pictures, numbers: list[int]) -> Any:
        import torch

        from components.tokenizer.objectives import to_pictures

        for first in range(0, len(numbers), 64):
            yield to_pictures(torch.from_numpy(pictures.decoded(numbers[first : first + 64])).to(self.device))

    def reconstruction(self) -> dict[str, Any]:
        """PSNR, SSIM and distances of held-out pictures to what is decoded of them, and statistics of their latents."""
        import torch

        from components.evaluation.frechet import FeatureMoments, frechet_distance, frechet_name
        from components.evaluation.latent_stats import LatentStatistics
        from components.evaluation.reconstruction import ReconstructionMeter
        from components.evaluation.robustness import noise_psnr
        from components.tokenizer.latent_space import decode_pictures

        meter = ReconstructionMeter(self._lpips())
        sources = self.held_out.sources(self.numbers)
        of_each = {name: ReconstructionMeter(None) for name in sorted(set(sources)) if name}
        statistics = LatentStatistics()
        extractors = self._frechet_features()
        moments = {name: (FeatureMoments(), FeatureMoments()) for name in extractors}
        latents, originals = [], []
        for pictures in self._batches(self.held_out, self.numbers):
            posterior = self.tokenizer.encode(pictures).latent_dist
            latent = posterior.mode()
            decoded = decode_pictures(self.tokenizer, latent)
            meter.update((pictures + 1) / 2, (decoded + 1) / 2)
            of_batch, sources = sources[: len(pictures)], sources[len(pictures) :]
            for name in set(of_batch) & set(of_each):
                own = [n for n, source in enumerate(of_batch) if source == name]
                of_each[name].update((pictures[own] + 1) / 2, (decoded[own] + 1) / 2)
            statistics.update(latent, (posterior.mean, posterior.logvar))
            for name, extract in extractors.items():
                moments[name][0].update(extract(pictures))
                moments[name][1].update(extract(decoded))
            latents.append(latent)
            originals.append((pictures + 1) / 2)
        values: dict[str, Any] = dict(meter.compute())
        for name, (real, made) in moments.items():
            values[frechet_name(name)] = frechet_distance(real, made)
        if self.inception:
            values["rfid_weights"] = self.inception
        sigma = self.settings.noise
        noisy = noise_psnr(
            lambda z: (decode_pictures(self.tokenizer, z) + 1) / 2,
            torch.cat(latents), torch.cat(originals), [sigma], torch.Generator().manual_seed(self.seed % 2**63),
        )  # fmt: skip
        found = statistics.compute()
        latent = {k: found[k] for k in ("std_min", "std_max", "std_mean", "dead_channels", "kl_mean")}
        if of_each:
            values["sources"] = {name: {**own.compute(), "pictures": own.count} for name, own in of_each.items()}
        return values | {"noise_psnr": noisy[sigma], "latent": latent}

    def _lpips(self) -> Any:
        from pipelines.judging.pretrained_measures import load_lpips

        if not self.settings.lpips_weights:
            self.absent["lpips"] = f"evaluate_tokenizer.lpips_weights names no weights. {HOW.format('lpips_weights')}"
            return None
        model = load_lpips(self.settings.lpips_weights, self.store).to(self.device)
        return lambda originals, decoded: model.distances(decoded * 2 - 1, originals * 2 - 1)

    def _frechet_features(self) -> dict[str, Any]:
        """Return {features' name: pictures in -1..1 to [N, D]}."""
        from pipelines.judging.pretrained_measures import load_inception

        own = encoder_slug(self.config.encoder.path)
        features = {own: lambda pictures: self.image_text.encoder(pictures).mean(1)}
        if self.settings.inception:
            features["inception"], self.inception = load_inception(self.settings.inception, self.store, self.device)
        else:
            self.absent["rfid"] = f"evaluate_tokenizer.inception names no weights. {HOW.format('inception')}"
        return features

    def semantics(self) -> dict[str, Any]:
        """Cosine of the latent's features with the frozen encoder's, and retrieval by each."""
        import torch

        from components.evaluation.retrieval import retrieval_score

        captioned = [n for n in range(len(self.held_out)) if self.held_out.rows["caption"][n]]
        captioned = [n for n in captioned if self.held_out.rows["role"][n] == "picture"]
        captioned = spread(captioned, self.settings.retrieval_pool)
        if len(captioned) < 2:
            reason = "fewer than two held-out pictures have captions"
            self.absent |= {"retrieval": reason, "retrieval_frozen": reason, "feature_cosine": reason}
            return {}
        texts = [self.held_out.rows["caption"][n] for n in captioned]
        ids = self.vocabulary.encode(texts, self.image_text.options.max_words)
        text = self.image_text.embed_text(ids.to(self.device))
        found: dict[str, list[Any]] = {"frozen": [], "latent": [], "encoder": []}
        cosines = []
        for pictures in self._batches(self.held_out, captioned):
            frozen = self.image_text.encoder(pictures)
            found["frozen"].append(self.image_text.embed_features(frozen))
            if not self.entry.of_encoder:
                continue
            found["encoder"].append(self.image_text.embed_features(self.tokenizer.features(pictures)))
            if self.entry.holds_features:
                decoded = self.tokenizer.decode_features(self.tokenizer.encode(pictures).latent_dist.mode())
                cosines.append(torch.cosine_similarity(decoded, frozen, dim=-1).mean(1))
                found["latent"].append(self.image_text.embed_features(decoded))
        score = {k: retrieval_score(torch.cat(v), text, texts)["retrieval_top1"] for k, v in found.items() if v}
        values: dict[str, Any] = {"retrieval_frozen": score["frozen"], "retrieval_pool": len(set(texts))}
        if "encoder" in score:
            values["retrieval_encoder"] = score["encoder"]
        if "latent" in score:
            values |= {"retrieval": score["latent"], "feature_cosine": float(torch.cat(cosines).mean())}
        else:
            lacks = "semantic decoder" if self.entry.of_encoder else "encoder of features"
            why = f"the space has no {lacks}"
            self.absent |= {"retrieval": why, "feature_cosine": why}
        return values

    def probe(self) -> dict[str, Any]:
        """Balanced accuracy of an attentive probe that tells from the latent which words the caption holds."""
        import torch

        from components.evaluation.probe import train_probe

        sides = {"train": self.train, "val": self.held_out}
        chosen = {}
        for name, side in sides.items():
            numbers = [n for n in range(len(side)) if side.rows["caption"][n]]
            chosen[name] = spread(numbers, self.settings.probe_pictures)
        words = self._probe_words(chosen)
        if not words:
            self.absent["probe"] = "no word is in a tenth to a half of the captions on both sides of the split"
            return {}
        tokens, labels = {}, {}
        for name, side in sides.items():
            with torch.inference_mode():
                parts = [
                    self.tokenizer.encode(p).latent_dist.mode().flatten(2).transpose(1, 2)
                    for p in self._batches(side, chosen[name])
                ]
            tokens[name] = torch.cat(parts).clone()
            captions = [set(self._words(side.rows["caption"][n])) for n in chosen[name]]
            labels[name] = torch.tensor([[w in caption for w in words] for caption in captions], dtype=torch.long)
        heads = next(h for h in (4, 3, 2, 1) if tokens["train"].shape[2] % h == 0)
        score = train_probe(
            tokens["train"], labels["train"], tokens["val"], labels["val"], kind="attentive",
            seed=self.seed % 2**31, steps=self.settings.probe_steps, heads=heads,
        )  # fmt: skip
        return {"probe": score, "probe_words": len(words)}

    def _words(self, caption: str) -> list[str]:
        from components.tokenizer.image_text import WORDS

        return WORDS.findall(caption.lower())

    def _probe_words(self, chosen: dict[str, list[int]]) -> list[str]:
        """Return words that are neither rare nor everywhere, on both sides; most frequent first."""
        shares = []
        for name, side in (("train", self.train), ("val", self.held_out)):
            counts = Counter(w for n in chosen[name] for w in set(self._words(side.rows["caption"][n])))
            shares.append({w: c / max(1, len(chosen[name])) for w, c in counts.items()})
        fit = [w for w, s in shares[0].items() if 0.1 <= s <= 0.5 and 0.02 <= shares[1].get(w, 0) <= 0.9]
        return sorted(fit, key=lambda w: (-shares[0][w], w))[:PROBE_WORDS]

    def grid(self, path: Path) -> None:
        """Write originals, reconstructions, and reconstructions of noisy latents."""
        import torch

        from components.evaluation.grids import reconstruction_grid
        from components.tokenizer.latent_space import decode_pictures

        numbers = spread(self.numbers, GRID)
        (pictures,) = self._batches(self.held_out, numbers)
        with torch.inference_mode():
            latent = self.tokenizer.encode(pictures).latent_dist.mode()
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(self.seed % 2**63))
            noise = noise.to(self.device)
            sigma = self.settings.noise
            deviation = latent.std((0, 2, 3), keepdim=True)
            rows = [("original", pictures)]
            for label, z in (("decoded", latent), (f"noise {sigma:g}", latent + sigma * deviation * noise)):
                rows.append((label, decode_pictures(self.tokenizer, z)))
        reconstruction_grid([(label, (p + 1) / 2) for label, p in rows]).save(path)


# Groups of figures: a function of the judge that returns {name: figure}, and whether it trains something to find them.
FIGURES: tuple[tuple[Callable[[Judge], dict[str, Any]], bool], ...] = (
    (Judge.reconstruction, False),
    (Judge.semantics, False),
    (Judge.probe, True),
)
