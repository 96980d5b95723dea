"""What can be known before the first stage runs: models, sources and gates that cannot work, all told at once.

`run`, `run --dry-run`, `resume`, `plan` and `doctor` ask for the same checks, and so does a submitted job, where it
runs. Nothing is loaded: a folder's own `config.json` is read, and of a hub id only what is known of it here. Only
sources at addresses, and weights to fetch, are asked for over the network.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.preflight.asked_models import check_editors, check_recaption
from pipelines.preflight.gates import check_gates
from pipelines.preflight.judges import check_judges
from pipelines.preflight.pretrained import check_autoencoder, check_backbone, check_encoder
from pipelines.preflight.signal_models import check_pairs, check_signals
from pipelines.preflight.sources import check_source, check_uses
from pipelines.preflight.weights import check_weights
from pipelines.stage import base_of

# Each check beside that of the sources, and the stages that would fail of it.
CHECKS: tuple[tuple[Callable[[Config], Iterator[str]], tuple[str, ...]], ...] = (
    (check_signals, ("score", "curate")),
    (check_recaption, ("recaption",)),
    (check_editors, ("synthesize_edits",)),
    (check_pairs, ("measure_pairs", "curate_pairs")),
    (check_weights, ("train_semantic", "train_tokenizer", "evaluate_tokenizer", "evaluate_generator")),
    (check_judges, ("evaluate_generator",)),
    (check_encoder, ("train_encoder",)),
    (check_autoencoder, ("train_tokenizer",)),
    (check_backbone, ("train_generator",)),
    (check_gates, ("register",)),
)


def problems(config: Config, stages: Collection[str] | None = None, skip_source: bool = False) -> list[str]:
    """Return what these stages (None: all) cannot work with, each in words that say where and what to do."""
    found: list[str] = []
    if not skip_source:
        found += check_source(config, stages)
    found += check_uses(config, stages)
    for check, concerned in CHECKS:
        if stages is None or set(concerned) & set(map(base_of, stages)):
            found += check(config)
    return found


def refuse_problems(config: Config, stages: Collection[str] | None = None, skip_source: bool = False) -> None:
    """Raise `UserError` with every problem."""
    found = problems(config, stages, skip_source)
    if found:
        raise UserError("this configuration cannot run:\n  " + "\n  ".join(found))
