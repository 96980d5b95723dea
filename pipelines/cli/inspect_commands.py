"""`pixsem inspect`: what a source would be read as, before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.shared import AsJson, ConfigDir, show

if TYPE_CHECKING:
    from pipelines.stages.data.inspect_source import Preview

SHOWN_TEXT = 110  # characters of a text


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("inspect")(inspect_source)


def inspect_source(
    source: Annotated[
        list[str], typer.Argument(help="A path or an address, or configuration: source=KIND source.path=...")
    ],
    count: Annotated[int, typer.Option(min=1, max=1000, help="Samples to look at.")] = 20,
    name: Annotated[str | None, typer.Option("--source", help="Of several sources, this one.")] = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a source would be read as: its columns, and the first samples with pictures, captions, instructions."""
    from dataclasses import asdict

    from pipelines.config.compose import compose_config
    from pipelines.errors import UserError, nearest
    from pipelines.stages.data.guess_source import guess_source
    from pipelines.stages.data.inspect_source import preview

    guessed = len(source) == 1 and "=" not in source[0].partition("/")[0]
    settings = guess_source(source[0]) if guessed else source
    config = compose_config(settings, config_dir)
    sources = config.named_sources()
    if name is None and len(sources) > 1:
        raise UserError(f"there are several sources. Name one with --source: {', '.join(sources)}")
    if name is not None and name not in sources:
        raise UserError(f"no source {name!r}{nearest(name, sources)} Sources: {', '.join(filter(None, sources))}")
    found = preview(next(iter(sources.values())) if name is None else sources[name], count)
    show(
        {"configuration": settings, **asdict(found)},
        as_json,
        lambda: preview_text(found) + (f"\n\nread it with:\n  pixsem run {_command(settings)}" if guessed else ""),
    )


def _command(settings: list[str]) -> str:
    import shlex

    return " ".join(shlex.quote(setting) for setting in settings)


def preview_text(found: Preview) -> str:
    """Return a preview as text."""
    lines = [f"{found.kind}: {found.files} file{'s' if found.files != 1 else ''}. {found.note}".rstrip(), ""]
    names = [*found.columns, *(name for name in found.roles if name not in found.columns)]
    width = max(map(len, names), default=0)
    lines += ["read as"]
    lines += [f"  {name:{width}}  {_role(found, name)}" for name in names]
    lines += ["", "samples"]
    for seen in found.samples:
        what = [f"FAILS  {seen.problem}"] if seen.problem else []
        what += [f"{role}: {text}" for role, text in seen.pictures.items()]
        what += [f"{role}: {_short(text)}" for role, text in seen.texts]
        lines += [f"  {seen.where}", *(f"    {line}" for line in what)]
    bad = sum(bool(seen.problem) for seen in found.samples)
    lines += ["", f"{len(found.samples)} samples looked at, {bad} of them would fail"]
    return "\n".join(lines)


def _role(found: Preview, name: str) -> str:
    kind: Any = found.columns.get(name, "")
    return f"{found.roles.get(name, '-')}{f'  ({kind})' if kind else ''}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_TEXT else f"{line[: SHOWN_TEXT - 3]}..."
