"""What a model says of itself, in Markdown: the page of a registered version, and `README.md` of a pipeline's folder.

The README is part of an artifact: it holds nothing that depends on a run, a time or what else is registered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.stage import base_of, credit_of
from pipelines.store.artifacts import Artifact

if TYPE_CHECKING:
    from components.registry.gates import Verdict

MOST_ROWS = 16  # of the figures on a version's page; MLflow keeps 5,000 characters of a description
LOAD = ("<!-- how to load it -->", "<!-- end -->")  # `pixsem export` writes its own lines between these
# Figures of bookkeeping, those that stand in another figure's row, and times, which differ from run to run.
UNLISTED = re.compile(
    r".*(_pool|_pictures|_words|_of_reconstructions|_of_source)$|seconds_.*|pictures|space|copy_source"
)
HEADLINES = (
    "tokenizer.psnr", "tokenizer.ssim", "tokenizer.retrieval", "text_to_image.overall", "text_to_image.single_object",
    "text_to_image.retrieval", "editing.success", "editing.preservation_psnr",
)  # fmt: skip
README = """---
library_name: diffusers
pipeline_tag: text-to-image
tags:
- text-to-image
- image-to-image
- pixsem
---

# {title}

{what}

![Pictures made from held-out prompts](samples.png)

## How to load it

{load}

## Figures

{figures}

## Data

{data}

## How it was made

{made}
"""
LOAD_HERE = """```python
from pixsem import load_pipeline

pipeline = load_pipeline("{name}")
picture = pipeline("{prompt}").images[0]
edited = pipeline("make it blue", image=picture).images[0]
```

Or in a shell: `pixsem generate "{prompt}" --model {name}`"""
PLAIN = "`pixsem export {name} NEW_FOLDER` writes it with its code, for plain diffusers."
LOAD_TOKENIZER = """```python
from pixsem import load_tokenizer

tokenizer = load_tokenizer("{name}")
latents = tokenizer.encode(pictures).latent_dist.mode()  # pictures: [B, 3, S, S] in -1..1
pictures = tokenizer.decode(latents).sample
```"""
WHAT = {
    "generator": "Makes pictures of {size} x {size} pixels from prompts, and edits pictures by instructions. "
    "A diffusion transformer ({parameters} parameters) in the latents of a {space} tokenizer.",
    "tokenizer": "Turns pictures of {size} x {size} pixels into latents and back. Latent space: {space}.",
}
OF_ALL = {
    "generator": "Text-to-image and editing pipelines (diffusers), one version for each that a run registered. "
    'The alias `champion` marks the one that passed its gates last: `load_pipeline("models:/{name}@champion")`.',
    "tokenizer": "Latent spaces of the generators. A generator's version names its tokenizer's. "
    'The alias `champion` marks the one that passed its gates last: `load_tokenizer("models:/{name}@champion")`.',
}
PICTURES = {
    "generator": {"generated.png": "pictures made from held-out prompts", "edits.png": "held-out edits"},
    "tokenizer": {"reconstructions.png": "held-out pictures, and what the tokenizer gives back"},
}


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation beside what it is held against; None where that was not measured."""

    name: str
    value: float
    interval: tuple[float, float] | None
    chance: float | None
    ceiling: float | None


def figures_of(metrics: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of `tokenizer`, `text_to_image` and `editing` for people, headlines first."""
    found = []
    for group in ("tokenizer", "text_to_image", "editing"):
        values = metrics.get(group, {})
        for name, value in values.items():
            if _number(value) is None or UNLISTED.fullmatch(name) or name in ("chance", "ceiling"):
                continue
            dotted = f"{group}.{name}"
            low_high = metrics.get("intervals", {}).get(dotted)
            chance = _beside(values, name, ("chance", "of_others"))
            ceiling = _beside(values, name, ("ceiling", "of_reconstructions"))
            found.append(Figure(dotted, float(value), tuple(low_high) if low_high else None, chance, ceiling))
    place = {name: number for number, name in enumerate(HEADLINES)}
    return sorted(found, key=lambda figure: place.get(figure.name, len(place)))


def _beside(values: Mapping[str, Any], name: str, groups: tuple[str, str]) -> float | None:
    """Return a figure's chance or ceiling, whichever way the evaluation tells it."""
    told = [values[group].get(name) for group in groups if isinstance(values.get(group), Mapping)]
    told += [values.get(f"{name}_{groups[1]}"), values.get(groups[0]) if name == "success" else None]
    return next((float(value) for value in told if _number(value) is not None), None)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def figures_table(figures: Sequence[Figure], champion: Mapping[str, float] | None = None, of: str = "") -> str:
    """Return the figures as a table. `champion` are the figures of the version `of`; None leaves the column out."""
    columns = {
        "95 % interval": lambda f: f"{f.interval[0]:.4g} to {f.interval[1]:.4g}" if f.interval else "",
        "chance": lambda f: f"{f.chance:.4g}" if f.chance is not None else "",
        "ceiling": lambda f: f"{f.ceiling:.4g}" if f.ceiling is not None else "",
        of: lambda f: f"{champion[f.name]:.4g}" if champion and f.name in champion else "",
    }
    kept = {name: cell for name, cell in columns.items() if any(cell(figure) for figure in figures)}
    rows = [[figure.name, f"{figure.value:.4g}", *(cell(figure) for cell in kept.values())] for figure in figures]
    return _table(["figure", "value", *kept], rows) if rows else "None was measured."


def data_text(made: Mapping[str, Artifact]) -> str:
    """Return what the model was trained on: sources with their counts and credits, and what became of them."""
    rows = []
    for name, artifact in made.items():
        if base_of(name) == "ingest":
            manifest = artifact.manifest
            source: Any = next((v for k, v in manifest.config.items() if k.split(".")[0] in ("source", "sources")), {})
            kind = source.get("kind", "") if isinstance(source, dict) else ""
            credit = credit_of(manifest) or "not recorded"
            rows.append([name.partition("@")[2] or kind, kind, f"{manifest.counts.get('kept', 0):,}", credit])
    lines = [_table(["source", "kind", "samples", "licence and credit"], sorted(rows)), ""]
    for stage, what in (("curate", "samples"), ("curate_pairs", "edit pairs")):
        counts = made[stage].manifest.counts if stage in made else {}
        if counts.get("input"):
            lines.append(f"- Curation kept {counts.get('kept', 0):,} of {counts['input']:,} {what}.")
    sides = made["index"].manifest.metrics.get("index", {}) if "index" in made else {}
    if "train" in sides:
        lines.append(f"- {sides['train']:,} rows are for training, {sides.get('held_out', 0):,} are held out.")
    return "\n".join(lines)


def attribution(made: Mapping[str, Artifact]) -> str:
    """Return whose pictures a model was trained on, where `ingest` wrote it down; "" elsewhere."""
    ingested = [artifact.manifest for name, artifact in sorted(made.items()) if base_of(name) == "ingest"]
    return "; ".join(dict.fromkeys(filter(None, map(credit_of, ingested))))


def facts(made: Mapping[str, Artifact]) -> dict[str, str]:
    """Return what a model is, in words: picture size, latent space, parameters."""
    config = made["train_tokenizer"].manifest.config
    trained = [a.manifest.metrics.get("training", {}) for n, a in made.items() if base_of(n).startswith("train_")]
    sizes = {name: figures.get("parameters") for group in trained for name, figures in group.items()}
    count = sizes.get("editor") or sizes.get("generator")
    return {
        "size": str(config.get("image_size", "")),
        "space": str(config.get("tokenizer.model", {}).get("space", "")),
        "parameters": f"{count:,}" if count else "",
    }


def readme(made: Mapping[str, Artifact], prompt: str) -> str:
    """Return `README.md` of a pipeline's folder, in the form of the hub's model cards. `made` are the artifacts that it
    was made from, by stage; `prompt` is one that it was judged on.
    """
    told = facts(made)
    metrics = {**made["evaluate_tokenizer"].manifest.metrics, **made["evaluate_generator"].manifest.metrics}
    here = LOAD_HERE.format(name="FOLDER", prompt=_plain(prompt))
    load = f"{LOAD[0]}\n{here}\n\n{PLAIN.format(name='FOLDER')}\n{LOAD[1]}"
    steps = [f"- `{name}`: artifact `{a.manifest.fingerprint}`" for name, a in sorted(made.items()) if _told(name)]
    return README.format(
        title="Text to image, and edits by instruction",
        what=WHAT["generator"].format(**told),
        load=load,
        figures=figures_table(figures_of(metrics)),
        data=data_text(made),
        made="\n".join(["With pixsem, by these stages (artifacts in its store):", "", *steps]),
    )


def description(
    kind: str,
    name: str,
    version: str,
    made: Mapping[str, Artifact],
    verdicts: Sequence[Verdict],
    champion: tuple[str, Mapping[str, float]] | None,
    note: str,
    links: Mapping[str, str],
    pictures: Mapping[str, str],
    prompt: str,
) -> str:
    """Return the card on a version's page.

    `kind` is generator or tokenizer; `champion` the version that it was held against, with its figures; `links` are
    stages -> addresses of the runs that made them; `pictures` are file names -> addresses.
    """
    uri, load = f"models:/{name}/{version}", LOAD_TOKENIZER if kind == "tokenizer" else LOAD_HERE
    figures = figures_of(made[f"evaluate_{kind}"].manifest.metrics)
    of = f"champion then, version {champion[0]}" if champion else ""
    table = figures_table(figures[:MOST_ROWS], champion[1] if champion else None, of)
    more = len(figures) - MOST_ROWS
    parts = [
        WHAT[kind].format(**facts(made)),
        f"### How to load it\n\n{load.format(name=uri, prompt=_plain(prompt))}",
        f"### Figures\n\n{table}" + (f"\n\n{more} more are on the page of the run." if more > 0 else ""),
        "\n\n".join(f"![{PICTURES[kind][shown]}]({address})" for shown, address in pictures.items()),
        f"### Gates\n\n{gates_text(verdicts)}" + (f"\n\nHeld against no other version: {note}." if note else ""),
        f"### Made by\n\n{_lineage(made, links)}",
        f"### Data\n\n{data_text(made)}",
    ]
    text = "\n\n".join(part for part in parts if part)
    # MLflow's tables have no space between columns.
    return "\n".join(
        line if line.startswith("| ---") else line.replace(" | ", "&emsp; | ") for line in text.split("\n")
    )


def gates_text(verdicts: Sequence[Verdict]) -> str:
    """Return every gate with its outcome."""
    words = {True: "passed", False: "**failed**"}
    lines = [f"- {'skipped' if v.skipped else words[v.passed]}: {_plain(v.words)}" for v in verdicts]
    return "\n".join(lines) or "None was asked for."


def outcome(verdicts: Sequence[Verdict]) -> str:
    """Return the gates' outcome in a few words."""
    held = [verdict for verdict in verdicts if not verdict.skipped]
    failed = [verdict.metric for verdict in held if not verdict.passed]
    if failed:
        return f"refused: {', '.join(failed)}"
    return f"passed {len(held)} of {len(held)} gates" if held else "no gate was held"


def labels(made: Mapping[str, Artifact]) -> dict[str, str]:
    """Return tags for people: data, latent space, picture size."""
    told, kept = facts(made), made["curate"].manifest.counts if "curate" in made else {}
    of = ", ".join(sorted(name.partition("@")[2] for name in made if base_of(name) == "ingest" and "@" in name))
    found = {
        "trained_on": f"{kept.get('kept', 0):,} of {kept.get('input', 0):,} samples" + (f" of {of}" if of else ""),
        "latent_space": told["space"],
        "picture_size": f"{told['size']} pixels" if told["size"] else "",
    }
    return {name: value for name, value in found.items() if value}


def _told(stage: str) -> bool:
    return base_of(stage).startswith(("train_", "evaluate_", "curate", "ingest"))


def _lineage(made: Mapping[str, Artifact], links: Mapping[str, str]) -> str:
    def steps() -> Iterator[str]:
        for name in made:
            if _told(name):
                yield f"[{name}]({links[name]})" if name in links else name

    others = [f"- [{what}]({address})" for what, address in links.items() if what not in made]
    return "\n".join([f"- stages: {', '.join(steps())}", *others])


def _plain(text: str) -> str:
    """Return a text that Markdown and a quoted string leave as it is."""
    return re.sub(r"[`\"\\|<>\[\]*$]", " ", " ".join(text.split()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
