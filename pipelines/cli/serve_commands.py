"""The command that puts a model behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.shared import DEFAULT_STORE, StoreOption


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(serve)


def serve(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS (followed when it moves), models:/NAME/VERSION, or a folder.")
    ] = "models:/pixsem-generator@champion",
    store: StoreOption = DEFAULT_STORE,
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Interface to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Copies of the model.")] = 1,
    gpus: Annotated[
        float | None, typer.Option("--gpus", min=0, help="GPUs of each copy; default: 1 where there are any.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Most pictures made at the same time by a copy.")] = 8,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Most pictures that wait for a copy; beyond it the answer is 429.")
    ] = 64,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write the texts of requests to the log.")] = False,
) -> None:
    """Serve a model over HTTP: a page at /, and OpenAI's images API at /v1.

    PIXSEM_API_KEY in the environment is the key that /v1 asks for; PIXSEM_WEBHOOK_SECRET opens /webhooks/mlflow to
    MLflow's registry webhook.
    """
    from pipelines.serve.limits import Limits
    from pipelines.serve.start import serve as run

    limits = Limits(
        host=host, port=port, replicas=replicas, gpus=gpus, batch=batch, queued=queue, log_prompts=log_prompts
    )
    run(model, store, limits)
