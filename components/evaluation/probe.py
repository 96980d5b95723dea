"""What frozen features hold: a linear probe on their mean and an attentive probe on their tokens.

Features are given, nothing is extracted here; the probes are trained and thrown away.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

ProbeKind = Literal["attentive", "linear"]


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer drawn from `generator` alone; the global random state is neither read nor moved."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.normal_(layer.weight, std=inputs**-0.5, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


class LinearProbe(nn.Module):
    """Mean over tokens, then a linear layer: [B, T, D] to [B, outputs]."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.head: nn.Linear = nn.utils.skip_init(nn.Linear, width, outputs)
        # The problem is convex: of a random start only noise would be left after few steps.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B, outputs] of features [B, T, D]."""
        return self.head(features.mean(1))


class AttentiveProbe(nn.Module):
    """One learned query attends to the tokens with several heads, then a linear layer: [B, T, D] to [B, outputs]."""

    def __init__(self, width: int, outputs: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(width, generator=generator))
        self.key = _linear(width, width, generator)
        self.value = _linear(width, width, generator)
        self.head = _linear(width, outputs, generator)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits [B, outputs] of features [B, T, D]."""
        batch, tokens, width = features.shape
        split = (batch, tokens, self.heads, width // self.heads)
        key, value = self.key(features).view(split), self.value(features).view(split)
        # Written out: with one query it costs little, and fused attention on CUDA does not repeat bit for bit.
        scores = (key * self.query.view(self.heads, -1)).sum(-1) * split[-1] ** -0.5  # [B, T, heads]
        pooled = (scores.softmax(1).unsqueeze(-1) * value).sum(1)  # [B, heads, D / heads]
        return self.head(pooled.reshape(batch, width))


def _check(name: str, features: Tensor, labels: Tensor) -> None:
    if features.ndim != 3 or features.numel() == 0:
        raise ValueError(
            f"{name} features have the shape {list(features.shape)}: give tokens [N, T, D], T = 1 if pooled"
        )
    if not torch.isfinite(features).all():
        raise ValueError(f"{name} features hold NaN or infinite values: check the encoder and its precision")
    if labels.ndim not in (1, 2) or len(labels) != len(features):
        raise ValueError(
            f"{name} labels have the shape {list(labels.shape)} for {len(features)} samples: give class numbers [N] "
            "or yes-and-no labels [N, L]"
        )
    if labels.is_floating_point() or (labels < 0).any():
        raise ValueError(f"{name} labels are {labels.dtype} or negative: give integers from 0, e.g. through .long()")
    if labels.ndim == 2:
        if (labels > 1).any():
            raise ValueError(
                f"{name} labels [N, L] hold more than 0 and 1: give classes as [N], or one column for each"
            )
        share = labels.double().mean(0)
        constant = ((share == 0) | (share == 1)).nonzero().flatten().tolist()
        if constant:
            raise ValueError(
                f"{name} labels in columns {constant} are the same for every sample, so nothing can be told apart: "
                "leave these columns out or add samples of the other kind"
            )


def _channel_moments(features: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [D] of features [N, T, D], in two passes so that no float64 copy is made."""
    count = features.shape[0] * features.shape[1]
    mean = torch.stack([part.double().sum((0, 1)) for part in features.split(batch_size)]).sum(0) / count
    squares = [(part.double() - mean).square().sum((0, 1)) for part in features.split(batch_size)]
    # A constant channel says nothing; it becomes zero instead of NaN.
    return mean.float(), (torch.stack(squares).sum(0) / count).sqrt().float().clamp(min=1e-6)


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the mean over labels of (true positive rate + true negative rate) / 2; both bool [N, L], chance is 0.5."""
    yes = labels.double()
    right = (predicted == labels).double()
    positive = (right * yes).sum(0) / yes.sum(0)
    negative = (right * (1 - yes)).sum(0) / (1 - yes).sum(0)
    return float((positive + negative).mean() / 2)


@torch.inference_mode(False)  # features come from encoders, and callers may still be in their mode
def train_probe(
    features: Tensor,
    labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    *,
    kind: ProbeKind,
    seed: int,
    steps: int = 500,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    heads: int = 4,
) -> float:
    """Train a probe on `features` [N, T, D] and return its score on `val_features` [M, T', D], in [0, 1].

    `labels` are class numbers [N], scored by accuracy, or yes-and-no labels [N, L] in {0, 1}, scored by the mean of
    per-label balanced accuracies. Channels are standardised with the training features' moments (of the means over
    tokens for the linear probe); AdamW, its learning rate falling linearly to zero. Runs on the features' device; all
    randomness comes from `seed`. Raises ValueError for data that do not fit, with what to do.
    """
    _check("training", features, labels)
    _check("validation", val_features, val_labels)
    width = features.shape[2]
    if val_features.shape[2] != width or val_labels.shape[1:] != labels.shape[1:]:
        raise ValueError(
            f"training has features of {width} and labels {list(labels.shape[1:])}, validation features of "
            f"{val_features.shape[2]} and labels {list(val_labels.shape[1:])}: take both sets with the same "
            "encoder and labels"
        )
    if kind not in ("attentive", "linear"):
        raise ValueError(f"kind is {kind!r}: give 'attentive' or 'linear'")
    if kind == "attentive" and (heads < 1 or width % heads):
        raise ValueError(f"{heads} heads do not divide features of {width}: choose heads that do")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps is {steps} and batch_size {batch_size}: give 1 or more of both")
    many = labels.ndim == 2
    outputs = labels.shape[1] if many else int(labels.max()) + 1
    if not many and int(val_labels.max()) >= outputs:
        raise ValueError(
            f"validation has class {int(val_labels.max())}, training only classes up to {outputs - 1}: split the "
            "data so that every class is in training"
        )

    device = features.device
    generator = torch.Generator().manual_seed(seed)
    probe = (
        AttentiveProbe(width, outputs, heads, generator) if kind == "attentive" else LinearProbe(width, outputs)
    ).to(device)
    if kind == "linear":
        # Before standardising: means over many tokens vary little, and a linear layer would learn from them slowly.
        features, val_features = (f.mean(1, keepdim=True, dtype=torch.float32) for f in (features, val_features))
    mean, scale = _channel_moments(features, batch_size)
    labels, val_labels = labels.to(device), val_labels.to(device)
    positive = labels.double().mean(0) if many else None
    weight = ((1 - positive) / positive).float() if positive is not None else None

    optimizer = torch.optim.AdamW(probe.parameters(), lr=learning_rate, weight_decay=weight_decay)
    with torch.enable_grad():
        for step in range(steps):
            rows = torch.randint(len(features), (min(batch_size, len(features)),), generator=generator).to(device)
            logits = probe((features[rows].detach().float() - mean) / scale)
            if many:
                loss = functional.binary_cross_entropy_with_logits(logits, labels[rows].float(), pos_weight=weight)
            else:
                loss = functional.cross_entropy(logits, labels[rows].long())
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - step / steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits = torch.cat([probe((part.float() - mean) / scale) for part in val_features.to(device).split(batch_size)])
    if many:
        return balanced_accuracy(logits > 0, val_labels.bool())
    return float((logits.argmax(1) == val_labels).double().mean())
