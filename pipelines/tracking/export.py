"""A pipeline's folder with its code, which plain diffusers opens where pixsem is not installed:
`trust_remote_code=True`.

diffusers reads a class from one file beside its weights, so each class's modules are put into one file, comments and
all, imports of each other left out.
"""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.tracking.model_card import LOAD

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ("components.generator.pipeline", "PixelSemanticPipeline")
LOAD_PLAIN = """It needs diffusers, transformers and torch, and runs the code in this folder:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True, low_cpu_mem_usage=False)
picture = pipeline("PROMPT").images[0]
edited = pipeline("INSTRUCTION", image=picture).images[0]
```"""
README = "# A pixsem pipeline\n\nPictures from prompts, and edits of pictures by instructions.\n"


def export_pipeline(source: Path, target: Path) -> None:
    """Copy a pipeline's folder to a new or empty one, with its code. `UserError` where that is not possible."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is there already and is no empty folder. Give a new one.")
    if not (source / "model_index.json").exists():
        raise UserError(f"{source} holds no pipeline: there is no model_index.json.")
    shutil.copytree(source, target, dirs_exist_ok=True)
    index: dict[str, Any] = json.loads((target / "model_index.json").read_text("utf-8"))
    index["_class_name"] = ["pipeline", PIPELINE[1]]
    (target / "pipeline.py").write_text(bundle(PIPELINE[0]), "utf-8")
    for name, value in index.items():
        if isinstance(value, list) and str(value[0]).startswith("components."):
            module = f"pixsem_{name}"
            (target / name / f"{module}.py").write_text(bundle(value[0]), "utf-8")
            index[name] = [module, value[1]]
    (target / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", "utf-8")
    card = target / "README.md"
    card.write_text(_loaded_plainly(card.read_text("utf-8") if card.exists() else README), "utf-8")


def _loaded_plainly(card: str) -> str:
    """Return a model card whose lines on loading are those of plain diffusers."""
    before, start, rest = card.partition(LOAD[0])
    _, end, after = rest.partition(LOAD[1])
    return f"{before}{LOAD_PLAIN}{after}" if start and end else f"{card}\n{LOAD_PLAIN}\n"


def bundle(module: str) -> str:
    """Return one file with a module of ours and all of ours that it imports, each after those it needs."""
    parts = [(name, _path(name).read_text("utf-8")) for name in _order(module, [])]
    seen: dict[str, str] = {}
    for name, text in parts:
        for defined in _defined(ast.parse(text)):
            assert seen.setdefault(defined, name) == name, f"{defined} is defined in {seen[defined]} and in {name}"
    body = "\n\n".join(f"# {name}\n{_without_imports(text)}" for name, text in parts)
    head = f'"""{module} of pixsem and what it needs, in one file. Written by `pixsem export`."""'
    return f"{head}\n\nfrom __future__ import annotations\n\n{body}\n"


def _path(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def _ours(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and bool(node.module) and str(node.module).startswith("components.")


def _order(module: str, done: list[str]) -> list[str]:
    """Return the modules of ours that a module needs, itself last."""
    for node in ast.walk(ast.parse(_path(module).read_text("utf-8"))):
        if _ours(node) and node.module != module and node.module not in done:  # type: ignore[attr-defined]
            _order(node.module, done)  # type: ignore[attr-defined]
    if module not in done:
        done.append(module)
    return done


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a module defines itself."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def _without_imports(text: str) -> str:
    """Return a module's text without its docstring, `from __future__`, and imports of ours."""
    tree = ast.parse(text)
    gone: set[int] = set()
    for node in ast.walk(tree):
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        docstring = node is tree.body[0] and isinstance(node, ast.Expr)
        if future or docstring or _ours(node):
            gone |= set(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]
    return "\n".join(line for number, line in enumerate(text.splitlines(), 1) if number not in gone).strip() + "\n"
