"""What evaluations hold beside training, planned and real: on small models with data, on a CPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from components.generator.sampling import Guidance, Request, sample
from components.tokenizer.image_text import ImageTextModel, Vocabulary, small_encoder
from components.tokenizer.latent_space import decode_pictures
from components.training.trace import Ledger
from pipelines.config.compose import compose_config
from pipelines.sizing.assumptions import Assumptions
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.inference import size_generator_evaluation, size_tokenizer_evaluation
from pipelines.sizing.models import Models
from pipelines.sizing.stage_sizes import StageSize
from pipelines.sizing.training import hook_bytes
from pipelines.stages.generator.generator_setup import flow_scheduler
from pipelines.stages.tokenizer.evaluate_tokenizer import Judge
from pipelines.stages.tokenizer.space_setup import new_space

pytestmark = pytest.mark.unit

TEXTS = ("a red circle on a white background", "make the blue square green")
FLOW = SimpleNamespace(pictures=10_000, train=5000)
LENGTH = 9  # tokens of a text


def planned(config, models, fill) -> dict[str, int]:
    row = StageSize("evaluate_generator" if fill is size_generator_evaluation else "evaluate_tokenizer")
    fill(row, config, FLOW, models, Hardware(config, Assumptions()))
    return row.memory


def real(module):
    """The module that a plan has no data of, with some."""
    module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(0.01)
    return module.eval()


def peak(modules, action) -> int:
    own = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), Ledger(own) as ledger:
        action()
    return ledger.peak


@pytest.mark.parametrize(("stage", "edits"), [("train_generator", False), ("train_editor", True)])
def test_the_hook_of_a_training_holds_its_whole_validation_batch(stage, edits):
    config = compose_config(["preset=tiny", "generator.validation_samples=48"])
    models = Models(config, TEXTS, LENGTH)
    (training,) = (t for t in models.trainings() if t.stage == stage)
    objective, shapes = real(training.build().module), training.validated()
    assert ("sources" in shapes) is edits

    def look() -> None:
        objective.validation_loss({name: torch.ones(shape, dtype=kind) for name, (shape, kind) in shapes.items()})

    trained = 1000
    assert hook_bytes(training, trained, fused=False) - 4 * trained == pytest.approx(peak([objective], look), rel=0.1)


def test_an_evaluation_of_generators_holds_the_branches_of_edits_with_their_sources():
    wide = ["generator.small.width=128", "generator.small.hidden=512"]  # so that decoding is not what holds most
    alone = ["preset=tiny", "evaluate_generator.batch=24", "generator.model.source=sequence", *wide]
    config = compose_config([*alone, "generator.image_guidance_scale=1.5"])
    models = Models(config, TEXTS, LENGTH)
    model, space = real(models.generator()), new_space(config, models.encoder().to_empty(device="cpu"), "ps_vae").eval()
    latents = torch.ones(24, *models.latent_shape)
    request = Request(torch.ones(24, LENGTH, dtype=torch.long), torch.ones(24, LENGTH, dtype=torch.bool), latents)

    def edit() -> None:
        made = sample(model, flow_scheduler(3.0), torch.ones_like(latents), request, Guidance(2.0, 1.5), 2)
        decode_pictures(space, made)

    memory = planned(config, models, size_generator_evaluation)
    assert memory["activations"] == pytest.approx(peak([model, space], edit), rel=0.15)
    fewer = planned(compose_config(alone), Models(compose_config(alone), TEXTS, LENGTH), size_generator_evaluation)
    assert fewer["activations"] < 0.8 * memory["activations"]


def test_an_evaluation_of_tokenizers_holds_its_pictures_twice():
    count = 480
    config = compose_config(["preset=tiny", f"evaluate_tokenizer.pictures={count}"])
    torch.manual_seed(0)
    encoder = small_encoder(config.encoder.small, config.image_size)
    vocabulary = Vocabulary.of(TEXTS)
    image_text = ImageTextModel(encoder, len(vocabulary), config.encoder.small).eval()
    space = new_space(config, encoder, "ps_vae").eval()

    class Held:
        """Pictures of noise that are made when they are asked for."""

        def __len__(self) -> int:
            return count

        def sources(self, numbers):
            return [""] * len(numbers)

        def decoded(self, numbers):
            shape = (len(numbers), 3, config.image_size, config.image_size)
            return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)

    judge = Judge(config, space, image_text, vocabulary, Held(), Held(), 0, None)
    memory = planned(config, Models(config, TEXTS, LENGTH), size_tokenizer_evaluation)
    held, decode = [], space.decode
    own = [tensor for part in (space, image_text) for tensor in (*part.parameters(), *part.buffers())]
    with torch.no_grad(), Ledger(own) as ledger:

        def decoding(latent):
            held.append(ledger.live)
            return decode(latent)

        space.decode = decoding
        judge.reconstruction()
    assert memory["pictures"] == pytest.approx(max(held), rel=0.15)  # and what is left of the last batch
