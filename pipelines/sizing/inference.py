"""The stages of a plan that use models without training them: encoding, both evaluations, and what is registered."""

from __future__ import annotations

import math
from typing import Any

from pipelines.config.schema import Config
from pipelines.sizing.data_volume import Flow, latent_bytes
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.models import Models
from pipelines.sizing.stage_sizes import StageSize
from pipelines.sizing.training import kept_snapshots, parameters

FP32 = 4  # bytes
JUDGED = 64  # pictures that evaluate_tokenizer takes at once


def size_encoding(row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill encode_latents' row. ValueError where the latent space cannot be built."""
    from components.training.trace import trace_inference

    settings = config.latents
    hardware.place(row, settings.precision)
    row.samples = flow.captioned + flow.pairs
    row.store_bytes = latent_bytes(flow, models.latent_shape, settings.flip)
    tokenizer = models.tokenizer()
    row.frozen = parameters(tokenizer)
    count = settings.batch * (2 if flow.pairs else 1)  # an edit's source is encoded with its target
    cost = trace_inference(
        [tokenizer], lambda images: encoded(tokenizer, images), models.pictures(count), row.bf16, row.device == "GPU"
    )
    row.memory = {"weights": FP32 * row.frozen, "activations": cost.activations}
    row.flops = cost.flops / count * (flow.captioned + 2 * flow.pairs) * (2 if settings.flip else 1)


def size_tokenizer_evaluation(row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill evaluate_tokenizer's row: it computes in float32, keeps all it judges in memory, and its probe hardly
    counts.
    """
    from components.training.trace import Cost, trace_inference

    settings = config.evaluate_tokenizer
    hardware.place(row, "fp32")
    held_out = flow.pictures - flow.train
    row.samples = min(settings.pictures, held_out)
    tokenizer, image_text = models.tokenizer(), models.image_text()
    row.frozen = parameters(tokenizer) + parameters(image_text)

    def cost(function: Any) -> Cost:
        return trace_inference([tokenizer, image_text], function, models.pictures(JUDGED), False, False)

    features = cost(lambda images: image_text.encoder(pictures_of(images)))
    encode = cost(lambda images: encoded(tokenizer, images))
    both = cost(lambda images: tokenizer.decode(encoded(tokenizer, images)))
    pool, probed = min(settings.retrieval_pool, held_out), min(settings.probe_pictures, flow.train)
    # Each picture is encoded, decoded with and without noise, and read by the encoder with its reconstruction.
    once = row.samples * (2 * both.flops - encode.flops + 2 * features.flops)
    row.flops = (once + pool * (encode.flops + 2 * features.flops) + 2 * probed * encode.flops) / JUDGED
    # Latents and pictures in batches as they are made, and once more as one tensor each; the noise of all latents.
    kept = row.samples * FP32 * (3 * math.prod(models.latent_shape) + 2 * 3 * config.image_size**2)
    row.memory = {"weights": FP32 * row.frozen, "activations": both.activations, "pictures": kept}


def size_generator_evaluation(row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill evaluate_generator's row: pictures are made in float32, by all branches of the guidance. Judging them by the
    pipeline's own encoder hardly counts; published judges are not counted, and it says so.
    """
    from components.generator.sampling import Guidance, branches
    from components.training.trace import Cost, trace_inference

    resources = hardware.place(row, "fp32")
    fused, batch = bool(resources.gpus), config.evaluate_generator.batch
    made, edited = pictures_made(config, flow, models)
    row.samples = made + edited
    generator, tokenizer = models.generator(), models.tokenizer()
    row.frozen = parameters(generator) + parameters(tokenizer)

    def sampled(edits: bool) -> Cost:
        """Of a batch: source and text are read once, and every step predicts each branch of the guidance."""
        settings = config.generator
        guidance = Guidance(settings.guidance_scale, settings.image_guidance_scale, settings.guidance_above)
        shapes = models.latents(len(branches(guidance, edits)) * batch, edits)

        def read(ids: Any, text: Any, sources: Any = None, has_source: Any = None, **_: Any) -> Any:
            return generator.read(ids, text, None if sources is None else sources.float(), has_source)

        def whole(latents: Any, **rest: Any) -> Any:
            return generator.denoise(latents.float(), latents[:, 0, 0, 0].float(), read(**rest))

        once = trace_inference([generator], read, shapes, False, fused)
        step = trace_inference([generator], whole, shapes, False, fused)
        return Cost(once.flops + settings.sampling_steps * (step.flops - once.flops), step.activations)

    latents = {"latents": ((batch, *models.latent_shape), models.latents(1)["latents"][1])}
    decode = trace_inference([tokenizer], lambda latents: tokenizer.decode(latents.float()), latents, False, fused)
    costs = [(count, sampled(edits)) for count, edits in ((made, False), (edited, True)) if count]
    # What is made is held against pictures that are decoded as well.
    row.flops = (sum(count * cost.flops for count, cost in costs) + row.samples * 2 * decode.flops) / batch
    row.assumed = _uncounted(config)
    most = max(decode.activations, *(cost.activations for _, cost in costs))
    row.memory = {"weights": FP32 * row.frozen, "activations": most}


def _uncounted(config: Config) -> str:
    """Return which models that look at pictures are left out; empty where there are none."""
    named, weights = config.evaluate_generator, config.evaluate_tokenizer
    judges = [f"the judge {name} ({section.get('kind')})" for name, section in named.judges.items()]
    features = [f"the features {name}" for name in named.features]
    measures = {"LPIPS": weights.lpips_weights, "Inception": weights.inception}
    found = judges + features + [name for name, given in measures.items() if given]
    told = "time and memory leave out {}; each looks at every picture about twice"
    return told.format(", ".join(found)) if found else ""


def pictures_made(config: Config, flow: Flow, models: Models) -> tuple[int, int]:
    """Return how many pictures evaluate_generator makes of texts, and how many edits, at most."""
    from pipelines.stages.generator.judged_world import find_world

    settings, sizes = config.evaluate_generator, find_world(config).sizes(config)
    made = min(settings.frechet_pictures, flow.pictures - flow.train)
    snapshots = sum(kept_snapshots(training, config) for training in models.trainings())
    prompts = settings.prompts + snapshots * settings.checkpoint_prompts + sizes.further
    if sizes.judged:
        scales = len(set(settings.guidance_scales) - {config.generator.guidance_scale})
        prompts += scales * settings.guidance_prompts
    return made + len(sizes.categories) * prompts, len(sizes.edit_kinds) * settings.edits


def size_registration(row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill register's row: the pipeline's folder, and the copies of pipeline and tokenizer that MLflow keeps."""
    tokenizer, generator = parameters(models.tokenizer()), parameters(models.generator())
    row.store_bytes = FP32 * (2 * (tokenizer + generator) + tokenizer)


def encoded(tokenizer: Any, images: Any) -> Any:
    """Encode pictures uint8 `[b, 3, S, S]` as encode_latents does."""
    return tokenizer.encode(pictures_of(images)).latent_dist.mode()


def pictures_of(images: Any) -> Any:
    """Return pictures uint8 `[b, 3, S, S]` in -1..1."""
    from components.tokenizer.objectives import to_pictures

    return to_pictures(images)
