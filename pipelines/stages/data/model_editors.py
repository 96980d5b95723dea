"""Published editors behind the interface that procedures have: what `components.editors` loads, for photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from components.curation.editing.base import DroppedPair, EditPair, Family
from components.curation.editing.photo import Photo
from components.editors.options import EditorModel

_LOADED: dict[str, Any] = {}  # the editors that this worker process has loaded, by their options


@dataclass(frozen=True)
class ModelEditor:
    """One published editor, loaded when it is first asked."""

    kind: str
    model: EditorModel
    family: Family = "model"

    def applicable(self, photo: Photo) -> bool:
        """The picture must hold one cell of the size that the editor needs."""
        return min(photo.size) >= self.model.multiple

    def propose(self, photo: Photo, rng: np.random.Generator) -> EditPair | DroppedPair:
        """Tell the editor something, and take what it makes; every try has a seed of its own."""
        from components.editors.editor_instructions import from_template

        editor, writer = _loaded(self.model)
        if writer is None:
            said = from_template(self.model.templates, photo.caption, rng)
        else:
            said = writer.write(photo.caption, int(rng.integers(2**63)))
        if said is None:
            detail = "the picture has no caption" if not photo.caption else "the writer wrote nothing"
            return DroppedPair(self.kind, "no_instruction", detail)
        source = editor.fit(photo.rgb)
        seeds = [int(seed) for seed in rng.integers(2**63, size=self.model.tries)]
        target, *others = (editor.edit(source, said.text, seed) for seed in seeds)
        return EditPair(
            kind=self.kind,
            family=self.family,
            source=source,
            target=target,
            mask=np.ones(source.shape[:2], np.bool_),
            instruction=said.text,
            parameters={"editor": self.model.path, "seeds": " ".join(map(str, seeds))},
            inverse=said.inverse,
            others=tuple(others),
        )


def model_editors(editors: dict[str, Any]) -> tuple[ModelEditor, ...]:
    """Return the editors of a configuration, given as JSON values."""
    found = TypeAdapter(dict[str, EditorModel]).validate_python(editors)
    return tuple(ModelEditor(name, model) for name, model in found.items())


def _loaded(model: EditorModel) -> tuple[Any, Any]:
    """Return the editor and its writer or None; a worker that edits many photos loads them once."""
    key = repr(model)
    if key not in _LOADED:
        from components.editors.diffusers_editor import DiffusersEditor
        from components.editors.editor_instructions import Writer
        from components.training.machine import best_device

        device = best_device()
        _LOADED[key] = DiffusersEditor(model, device), Writer(model.writer, device) if model.writer else None
    return _LOADED[key]
