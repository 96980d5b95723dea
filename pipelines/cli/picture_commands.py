"""Commands that make pictures: from prompts, and from a picture and instructions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.shared import CHAMPION, DEFAULT_STORE, StoreOption

MOST_PICTURES = 100_000  # of one command
FileOption = Annotated[
    Path | None, typer.Option("--prompts", help="File with more of them: .txt, a text a line, or .jsonl, .csv, .tsv.")
]
CountOption = Annotated[int, typer.Option("--count", min=1, help="Pictures of each text; each has the next seed.")]
GridOption = Annotated[bool, typer.Option("--grid", help="Also put all of them into one PNG, each above its text.")]
ServerOption = Annotated[
    str | None, typer.Option("--server", help="Address of a running pixsem serve; its key is PIXSEM_API_KEY's.")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="models:/NAME@ALIAS, models:/NAME/VERSION, or a pipeline's folder.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="PNG file to write; of several, a folder, or NAME.png for NAME-1.png and so on."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of the noise: the same seed makes the same picture.")
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps; default: the model's own.")]
GuidanceOption = Annotated[float | None, typer.Option("--guidance-scale", help="Guidance by the text; 1: none.")]
BatchOption = Annotated[int, typer.Option("--batch", min=1, help="Most pictures made at the same time.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (generate, edit):
        app.command()(command)


def generate(
    prompts: Annotated[list[str] | None, typer.Argument(metavar="PROMPT...", help="What a picture shows.")] = None,
    file: FileOption = None,
    model: ModelOption = CHAMPION,
    server: ServerOption = None,
    count: CountOption = 1,
    seed: SeedOption = 0,
    out: OutOption = None,
    grid: GridOption = False,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    batch: BatchOption = 8,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make pictures from texts. The names of the files are printed."""
    settings = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
    _make(prompts, file, None, {"seed": seed, **settings}, count, out, grid, _maker(model, store, server, batch))


def edit(
    image: Annotated[Path, typer.Argument(help="The picture to edit: PNG, JPEG or WebP.")],
    instructions: Annotated[
        list[str] | None, typer.Argument(metavar="INSTRUCTION...", help="What to change; each changes the picture.")
    ] = None,
    file: FileOption = None,
    model: ModelOption = CHAMPION,
    server: ServerOption = None,
    count: CountOption = 1,
    seed: SeedOption = 0,
    out: OutOption = None,
    grid: GridOption = False,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    image_guidance_scale: Annotated[
        float | None, typer.Option("--image-guidance-scale", help="Guidance by the picture; 1: none.")
    ] = None,
    batch: BatchOption = 8,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Edit a picture by instructions, each by itself. The names of the files are printed."""
    from pipelines.errors import UserError

    if not image.is_file():
        raise UserError(f"there is no picture at {image}")
    settings = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
    asked = {"seed": seed, **settings, "image_guidance_scale": image_guidance_scale}
    _make(instructions, file, image, asked, count, out, grid, _maker(model, store, server, batch))


def _maker(model: str, store: str, server: str | None, batch: int) -> Any:
    if server is None:
        from pipelines.cli.local_pictures import LocalPictures

        return LocalPictures(model, store, batch)
    from pipelines.cli.server_pictures import ServerPictures

    return ServerPictures(server, None if model == CHAMPION else model)


def _make(
    texts: list[str] | None,
    file: Path | None,
    image: Path | None,
    settings: dict[str, Any],
    count: int,
    out: Path | None,
    grid: bool,
    maker: Any,
) -> None:
    from pipelines.cli.picture_files import check_grid, save_grid, target
    from pipelines.errors import UserError

    wanted = [*(texts or ()), *_of_file(file)]
    if not wanted:
        raise UserError("no text is given: write it behind the command, or name a file of texts with --prompts")
    if len(wanted) * count > MOST_PICTURES:
        raise UserError(f"{len(wanted):,} texts of {count:,} pictures each are over {MOST_PICTURES:,}: ask for fewer")
    first = settings.pop("seed")
    rows = [{**settings, "prompt": text, "seed": (first + n) % 2**63} for text in wanted for n in range(count)]
    if grid:
        check_grid(rows)
    paths = [target(out, row["prompt"], number, len(rows)) for number, row in enumerate(rows, 1)]
    made = []
    for path, png in zip(paths, maker.make(rows, image), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        print(path, flush=True)
        made += [png] if grid else []
    if grid:
        print(save_grid(out, paths[0], rows, made, count))


def _of_file(file: Path | None) -> list[str]:
    if file is None:
        return []
    from components.evaluation.prompt_files import read_prompts

    return [prompt.text for prompt in read_prompts(file).prompts]
