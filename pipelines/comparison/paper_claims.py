"""The paper's claims, each as contrasts between rows of a comparison, and the verdicts that the measured figures
allow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.comparison.results import Result, Summary, summarise

Verdict = Literal["holds", "does not hold at this scale", "not tested"]
CONFIDENCE = 0.95  # one-sided


@dataclass(frozen=True)
class Contrast:
    """The claim that `sum(weight * figure of row)` is above `least`, e.g. +1 of the better row and -1 of the other."""

    terms: tuple[tuple[float, str], ...]
    metric: str
    least: float = 0.0  # in the figure's unit: what is smaller says nothing, whatever its spread


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, its own figures, the command that tests it, and the contrasts that all must show."""

    title: str
    paper: str
    command: str
    contrasts: tuple[Contrast, ...] = ()
    toy: bool = False  # tested by `pixsem toy`


@dataclass(frozen=True)
class Finding:
    """What was measured of a contrast: words with figures, and whether it shows; None where something was not run."""

    text: str
    shows: bool | None


def above(better: str, worse: str, metric: str, least: float = 0.0) -> Contrast:
    """The contrast of two rows."""
    return Contrast(((1.0, better), (-1.0, worse)), metric, least)


OVERALL, EDITS, CURVE, PSNR, PROBE = (
    "text_to_image.overall", "editing.success", "convergence.mean", "tokenizer.psnr", "tokenizer.probe",
)  # fmt: skip
KEPT = "editing.preservation_psnr"
DECIBEL, PROBED = 0.3, 0.01  # smaller differences of PSNR, and of the probe's accuracy, say nothing
# share of true pictures that must show right through a row's tokenizer alone, or its scores say nothing of its latent
# space
READABLE = 0.5
CEILINGS = {
    "text_to_image": "text_to_image.ceiling.overall",
    "convergence": "text_to_image.ceiling.overall",
    "editing": "editing.ceiling",
}
LARGER = ((1.0, "channels_96_large"), (-1.0, "channels_96"))
CLAIMS = (
    Claim(
        "In more dimensions than the data have, flow matching leaves their manifold",
        "2-D letters in 8-D: far more outliers than the same network has in 2-D (toy experiment).",
        "pixsem toy",
        toy=True,
    ),
    Claim(
        "So raw features generate worse than the compact semantic latent",
        "GenEval 71.27 of RAE, 73.7 of S-VAE.",
        "pixsem compare preset=plain 'spaces=[rae,s_vae]' 'seeds=[0,1,2]'",
        (above("s_vae", "rae", OVERALL),),
    ),
    Claim(
        "The semantic latent converges faster",
        "Convergence curves at equal steps: the semantic latents rise sooner.",
        "pixsem compare preset=plain 'spaces=[ps_vae,p_vae,pretrained]' 'seeds=[0,1,2]' "
        "tokenizer.model.pretrained=FOLDER",
        (above("ps_vae", "p_vae", CURVE), above("ps_vae", "pretrained", CURVE)),
    ),
    Claim(
        "Pixels matter for editing",
        "EditReward .222 of PS-VAE, .12 of S-VAE, .059 of RAE.",
        "pixsem compare preset=plain 'spaces=[ps_vae,s_vae,rae]' 'seeds=[0,1,2]'",
        (above("ps_vae", "s_vae", EDITS), above("ps_vae", "rae", EDITS), above("ps_vae", "s_vae", KEPT, DECIBEL)),
    ),
    Claim(
        "Semantics and pixels together beat either alone",
        "GenEval 76.56 of PS-VAE, 73.7 of S-VAE, 75.2 of P-VAE; EditReward .222, .12, .04.",
        "pixsem compare preset=plain 'spaces=[ps_vae,s_vae,p_vae]' 'seeds=[0,1,2]'",
        tuple(above("ps_vae", other, metric) for metric in (OVERALL, EDITS) for other in ("s_vae", "p_vae")),
    ),
    Claim(
        "From the paper's own start, without patch PCA, semantics and pixels beat pixels alone",
        "The paper has no patch PCA: its GenEval of 76.56 against 75.2, and a curve that rises sooner.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[plain_p_vae]' 'seeds=[0,1,2]'",
        (above("plain", "plain_p_vae", OVERALL), above("plain", "plain_p_vae", CURVE)),
    ),
    Claim(
        "MLP projections lose semantics",
        "Probe 44.5 instead of 79.5, GenEval 70.3 instead of 76.56.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[mlp]' 'seeds=[0,1,2]'",
        (above("plain", "mlp", PROBE, PROBED), above("plain", "mlp", OVERALL)),
    ),
    Claim(
        "Pixels read from D_s' output reconstruct better and generate worse",
        "Stated of the pixel decoder on D_s' output, without a figure kept here.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[pixel_on_features]' 'seeds=[0,1,2]'",
        (above("pixel_on_features", "plain", PSNR, DECIBEL), above("plain", "pixel_on_features", OVERALL)),
    ),
    Claim(
        "RAE-HD reconstructs better and generates worse",
        "PSNR 33.10 and GenEval 60.2 of RAE-HD, 28.79 and 76.56 of PS-VAE.",
        "pixsem compare preset=plain 'spaces=[rae_hd]' 'controls=[plain]' 'seeds=[0,1,2]'",
        # Against plain: raw features have no channels for patch PCA to start in.
        (above("rae_hd", "plain", PSNR, DECIBEL), above("plain", "rae_hd", OVERALL)),
    ),
    Claim(
        "Larger latents need larger generators",
        "With 1.7 B for 0.5 B, 96 channels gain on GenEval, DPG and editing, 32 channels do not.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[channels_32_large,channels_96_large]' "
        "'seeds=[0,1,2]'",
        (Contrast(LARGER, OVERALL), Contrast((*LARGER, (-1.0, "channels_32_large"), (1.0, "channels_32")), OVERALL)),
    ),
    Claim(
        "The dimension-aware shift is needed",
        "Used for every space; from RAE.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[shift_1]' 'seeds=[0,1,2]'",
        (above("ps_vae", "shift_1", OVERALL),),
    ),
    Claim(
        "The wide DDT head helps",
        "Every space gains from it: GenEval 63.7 to 68.0 of Flux-VAE.",
        "pixsem compare preset=plain 'spaces=[ps_vae]' 'controls=[head]' 'seeds=[0,1,2]'",
        (above("head", "no_head", OVERALL),),
    ),
)


def judge(claim: Claim, results: Sequence[Result], toy: Mapping[str, Any] | None) -> tuple[Verdict, list[Finding]]:
    """Return the verdict on a claim and what was measured for it. One thing that was not run leaves the whole claim
    untested.
    """
    findings = [examine(contrast, results) for contrast in claim.contrasts]
    if claim.toy:
        findings += examine_toy(toy)
    if any(finding.shows is None for finding in findings):
        return "not tested", findings
    return ("holds" if all(f.shows for f in findings) else "does not hold at this scale"), findings


def examine(contrast: Contrast, results: Sequence[Result]) -> Finding:
    """Measure a contrast: paired by seed, since rows of one seed share data, encoder and prompts."""
    name = contrast.metric.replace("_", " ")
    of_row = {
        row: {r.seed: r for r in results if r.row == row and contrast.metric in r.metrics} for _, row in contrast.terms
    }
    absent = [row for row, found in of_row.items() if not found]
    if absent:
        return Finding(f"{name}: {', '.join(absent)} not measured", None)
    if unreadable := _unreadable(contrast, of_row):
        return Finding(f"{name}: {unreadable}", None)
    seeds = sorted(set.intersection(*(set(found) for found in of_row.values())))
    if not seeds:
        return Finding(f"{name}: {', '.join(of_row)} have no seed in common", None)
    differences, squares = [], []
    for seed in seeds:
        chosen = [(weight, of_row[row][seed]) for weight, row in contrast.terms]
        differences.append(sum(w * r.metrics[contrast.metric] for w, r in chosen))
        squares.append(sum(w**2 * r.errors.get(contrast.metric, 0.0) ** 2 for w, r in chosen))
    margin, how = margin_of(differences, math.sqrt(squares[0]))
    margin = max(margin, contrast.least)
    mean = statistics.fmean(differences)
    paired = [r for r in results if r.seed in seeds]
    summary = summarise(paired)
    parts = ", ".join(f"{row} {summary[row][contrast.metric].text()}" for row in of_row)
    names = [f"{'+' if weight > 0 else '-'} {row}" for weight, row in contrast.terms]
    what = " ".join(names).removeprefix("+ ")
    return Finding(f"{name}: {parts}; {what} = {told(mean, margin, how)}", mean > margin)


def _unreadable(contrast: Contrast, of_row: Mapping[str, Mapping[int, Result]]) -> str:
    """Say of which rows a contrast of scores means nothing, since their tokenizers alone do not show true pictures; ""
    of none.
    """
    ceiling = CEILINGS.get(contrast.metric.split(".")[0], "")
    shown = {
        row: statistics.fmean(r.metrics[ceiling] for r in found.values())
        for row, found in of_row.items()
        if all(ceiling in r.metrics for r in found.values())
    }
    low = [f"{row} shows {share:.3f} of true pictures right" for row, share in shown.items() if share < READABLE]
    return f"{', '.join(low)} through its tokenizer alone, too few to tell" if low else ""


def told(difference: float, margin: float, how: str) -> str:
    """Say a difference beside its margin, and what it says: the claimed order, none, or the opposite."""
    order = "as claimed" if difference > margin else "the opposite" if difference < -margin else "not told apart"
    return f"{difference:+.3f}, {order} (margin {margin:.3f}: {how})"


def margin_of(differences: Sequence[float], error: float) -> tuple[float, str]:
    """Return how far above 0 a mean difference must be, and where that comes from.

    Of several seeds: the one-sided 95 % bound by Student's t. Of one: that of the standard error of counting, where the
    figure has one.
    """
    from scipy.stats import norm, t

    count = len(differences)
    if count > 1:
        error = statistics.stdev(differences) / math.sqrt(count)
        return float(t.ppf(CONFIDENCE, count - 1)) * error, f"95 % over {count} seeds"
    if error:
        return float(norm.ppf(CONFIDENCE)) * error, "one seed: 95 % by the number of pictures judged"
    return 0.0, "one seed, no spread"


def examine_toy(toy: Mapping[str, Any] | None) -> list[Finding]:
    """Hold the toy's distances in 8-D to those in 2-D, paired by seed: on the mean over its curve, and at its end."""
    if toy is None:
        return [Finding("worst 5 %: pixsem toy not run", None)]
    seeds = sorted(toy["worst"]["2"])
    found = []
    for when, pick in (("over the curve, from", statistics.fmean), ("after", lambda curve: curve[-1])):
        plane, turned = ([pick(toy["curves"][d][seed]) for seed in seeds] for d in ("2", "8"))
        differences = [b - a for a, b in zip(plane, turned, strict=True)]
        margin, how = margin_of(differences, 0.0)
        mean = statistics.fmean(differences)
        steps = toy["curves"]["steps"]
        span = f"{steps[0]} to {steps[-1]}" if when.endswith("from") else str(steps[-1])
        found.append(
            Finding(
                f"nearest-neighbour distance of the worst 5 % {when} {span} steps: 8-D {spread_text(turned)}, 2-D "
                f"{spread_text(plane)}, fresh data {toy['floor']:.3f}; 8-D - 2-D = {told(mean, margin, how)}",
                mean > margin,
            )
        )
    return found


def spread_text(values: Sequence[float]) -> str:
    """Return the mean of values and, of several, their sample standard deviation."""
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values)).text()


def claims_page(about: str, results: Sequence[Result], toy: Mapping[str, Any] | None) -> str:
    """Return `CLAIMS.md`: every claim, the paper's own figures, the command that tests it, what was measured, and the
    verdict.
    """
    judged = [(claim, *judge(claim, results, toy)) for claim in CLAIMS]
    lines = [
        "# The paper's claims, held to this pipeline",
        "",
        "Written by `pixsem compare ... --claims CLAIMS.md`; do not edit. Claims and figures of the paper: arXiv "
        "2512.17909. A claim *holds* where every",
        "difference that it means is above 0 by more than its margin: the one-sided 95 % bound over seeds, rows "
        "paired by seed; of a single seed, over the",
        "number of pictures judged. Where something was not run, or a tokenizer alone shows less than half of "
        "true pictures right, it is *not tested*.",
        "",
        about,
        "",
        "| claim | verdict |",
        "|---|---|",
        *(f"| {claim.title} | {verdict} |" for claim, verdict, _ in judged),
    ]
    for claim, verdict, findings in judged:
        lines += ["", f"## {claim.title}", "", f"- the paper: {claim.paper}", f"- tested by: `{claim.command}`"]
        lines += [f"- measured: {finding.text}" for finding in findings]
        lines += [f"- verdict: **{verdict}**"]
    return "\n".join(lines) + "\n"
