"""What makes sense after a run, said at its end: commands and files of that run, none that it has nothing for."""

from __future__ import annotations

import shlex
from typing import Any

from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run
from pipelines.tracking.examples import example_prompt
from pipelines.workflow.report import registered, run_artifacts

WIDEST = 90  # characters of a command that the column of commands is as wide as
PAGES = {  # what a run may end with, latest first -> the page or picture of it
    "evaluate_generator": "generated.png",
    "evaluate_tokenizer": "reconstructions.png",
    "curate_pairs": "sheet.html",
    "synthesize_edits": "sheet.png",
    "curate": "sheet.html",
}


def next_steps(store: Store, run: Run) -> str:
    """Return the lines that follow the report of a run."""
    lines = _steps(store, run)
    width = max((len(command) for command, _ in lines if len(command) <= WIDEST), default=0)
    return "\n".join(["next", *(f"  {command:<{width}}  {why}".rstrip() for command, why in lines)])


def _steps(store: Store, run: Run) -> list[tuple[str, str]]:
    at = "" if store.url == "./store" else f" --store {shlex.quote(store.url)}"
    if run.state != "completed":
        failed = [name for name, state in run.stages.items() if state.state == "failed"]
        why = f"once {failed[0]} can work: see its error and log above" if failed else "what is finished is kept"
        return [(f"pixsem resume {run.id}{at}", why)]
    artifacts, models = run_artifacts(store, run), registered(store, run)
    found = [(store.path(page), "") for page in _pages(artifacts)[:1]]
    if any("champion" in model["aliases"] for model in models if "generator" in model["name"]):
        prompt = (example_prompt(judged) if (judged := artifacts.get("evaluate_generator")) else "") or "PROMPT"
        found.append((f"pixsem generate {shlex.quote(prompt)} --out picture.png{at}", "a picture by the champion"))
    found += [_promotion(model, at) for model in models if "champion" not in model["aliases"]]
    if models:
        found.append((f"pixsem models{at}", "registered versions"))
    found.append((f"pixsem report {run.id} --html{at}", "all of it on one page that opens offline"))
    if run.until and run.until != "register":
        found.append((f"pixsem report {run.id}{at}", "these figures again; --json for programs"))
        found.append((shlex.join(["pixsem", "run", *run.asked]), "the same without --until goes on from here"))
    else:
        found.append((f"pixsem ui store={store.url}" if at else "pixsem ui", "runs and models in MLflow"))
    if run.preset == "demo_small":
        found.append(("pixsem run preset=demo", "trained nearly twice as long"))
    return found


def _promotion(model: dict[str, Any], at: str) -> tuple[str, str]:
    """Return what makes a version the champion that is none, and what else there is to do where gates refused it."""
    command, gates = f"pixsem promote models:/{model['name']}/{model['version']}", model["name"].removeprefix("pixsem-")
    if not model["refused"]:
        return f"{command}{at}", "makes this version the champion"
    why = f"makes the refused version the champion; or train longer, or change the gates in register.{gates}"
    return f"{command} --force{at}", why


def _pages(artifacts: dict[str, Artifact]) -> list[str]:
    return [path for stage, page in PAGES.items() if stage in artifacts for path in artifacts[stage].files(page)]
