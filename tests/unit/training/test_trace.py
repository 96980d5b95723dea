"""Costs traced on tensors without data are those of the real pass on real tensors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from components.tokenizer.blocks import Block
from components.tokenizer.discriminator import PatchCritic
from components.training.block_transforms import checkpoint_activations
from components.training.trace import Ledger, trace_inference, trace_training

pytestmark = pytest.mark.unit

BATCH, TOKENS, WIDTH, HEADS, DEPTH = 4, 32, 64, 4, 3
SHAPES = {"tokens": ((BATCH, TOKENS, WIDTH), torch.float32)}


class Stack(nn.Module):
    """Transformer blocks, the first of them frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(WIDTH, HEADS) for _ in range(DEPTH)])
        self.blocks[0].requires_grad_(False)

    def forward(self, batch, progress, critic):
        """Return the loss."""
        hidden = batch["tokens"]
        for block in self.blocks:
            hidden = block(hidden)
        return hidden.square().mean(), {}, None


class Decoder(nn.Module):
    """Convolutions, judged by a critic."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, batch, progress, critic):
        """Return the loss, and pictures for the critic."""
        made = self.layers(batch["images"])
        loss = (made - batch["images"]).square().mean()
        if critic is not None:
            loss = loss - critic.judge(made).mean()
        return loss, {}, (batch["images"], made)


def real_training(module: nn.Module, batch: dict[str, torch.Tensor], bf16: bool) -> tuple[float, int]:
    """FLOPs by torch's counter, and the most bytes alive beside weights and gradients, of a real pass."""
    own = [*module.parameters(), *module.buffers()]
    with Ledger(own) as ledger:
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p: ledger.leave_out(p.grad))
        fed = {name: value.clone() for name, value in batch.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module(fed, 0.5, None)[0]
        loss.backward()
    module.zero_grad()
    with FlopCounterMode(display=False) as counter:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module(batch, 0.5, None)[0]
        loss.backward()
    return float(counter.get_total_flops()), ledger.peak


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_traced_pass_costs_what_the_real_one_does(bf16, checkpointing):
    module = Stack()
    traced = Stack().to("meta")
    if checkpointing:
        for one in (module, traced):
            checkpoint_activations(one, (Block,))
    cost = trace_training(traced, None, (), SHAPES, bf16, fused=False)
    with sdpa_kernel(SDPBackend.MATH):
        flops, bytes_alive = real_training(module, {"tokens": torch.randn(BATCH, TOKENS, WIDTH)}, bf16)
    assert cost.flops == flops
    assert cost.activations == bytes_alive


def test_the_counts_are_the_textbooks():
    """Forward: 24 N d^2 + 4 N^2 d for each sequence of N tokens and each block; backward twice that where a block is
    trained.
    """
    cost = trace_training(Stack().to("meta"), None, (), SHAPES, False, fused=False)
    products = 24 * TOKENS * WIDTH**2 * BATCH
    attention = 4 * TOKENS**2 * WIDTH * BATCH
    assert cost.flops == (DEPTH + 2 * (DEPTH - 1)) * (products + attention)


def test_checkpointing_keeps_less_and_computes_the_blocks_again():
    plain, again = Stack().to("meta"), Stack().to("meta")
    checkpoint_activations(again, (Block,))
    whole, less = (trace_training(m, None, (), SHAPES, False, fused=False) for m in (plain, again))
    assert less.activations < 0.7 * whole.activations
    forward = (DEPTH - 1) * (24 * TOKENS * WIDTH**2 + 4 * TOKENS**2 * WIDTH) * BATCH
    # The last product of a block is not made again: nothing needs what comes of it.
    assert 0.6 * forward < less.flops - whole.flops <= forward


def test_fused_attention_keeps_no_scores_and_counts_its_second_pass_over_them():
    shapes = {"tokens": ((1, 512, WIDTH), torch.float32)}
    plain, fused = (trace_training(Stack().to("meta"), None, (), shapes, False, fused=f) for f in (False, True))
    scores = HEADS * 512 * 512 * 4
    assert plain.activations - fused.activations > (DEPTH - 1) * scores
    assert fused.flops - plain.flops == (DEPTH - 1) * 2 * 512 * 512 * WIDTH


def test_a_critic_costs_its_judgement_and_its_own_step():
    shapes = {"images": ((2, 3, 32, 32), torch.float32)}
    alone = trace_training(Decoder().to("meta"), None, (), shapes, False, fused=False)
    judged = trace_training(Decoder().to("meta"), PatchCritic(8).to("meta"), (), shapes, False, fused=False)
    critic = PatchCritic(8)
    images = torch.randn(2, 3, 32, 32)
    with FlopCounterMode(display=False) as own:
        critic(images, images).backward()
    seen = images.clone().requires_grad_()
    frozen = copy.deepcopy(critic).requires_grad_(False)
    with FlopCounterMode(display=False) as judgement:
        frozen.judge(seen).mean().backward()
    assert judged.flops - alone.flops == own.get_total_flops() + judgement.get_total_flops()


def test_parameters_that_modules_share_stay_shared_and_what_only_reads_is_not_counted():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.second.weight = self.first.weight

        def forward(self, batch, progress, critic):
            return (self.second(self.first(batch["x"])) - self.teacher[0](batch["x"])).square().mean(), {}, None

    with torch.device("meta"):
        module, teacher = Tied(), nn.Linear(8, 8).requires_grad_(False)
    module.teacher = [teacher]
    cost = trace_training(module, None, (teacher,), {"x": ((2, 8), torch.float32)}, False, fused=False)
    assert module.first.weight is module.second.weight
    assert cost.flops == 2 * 2 * 8 * 8 * (3 + 1 + 2)  # two products forward and one of the teacher's, three backward
    assert teacher.weight.grad is None


def test_inference_keeps_nothing_of_what_it_has_passed():
    module = Stack()
    batch = {"tokens": torch.randn(BATCH, TOKENS, WIDTH)}
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), Ledger([*module.parameters()]) as ledger:
        module({name: value.clone() for name, value in batch.items()}, 0.5, None)
    traced = Stack().to("meta")
    cost = trace_inference([traced], lambda tokens: traced({"tokens": tokens}, 0.5, None), SHAPES, False, fused=False)
    assert cost.activations == ledger.peak
    assert cost.flops == ledger.flops
