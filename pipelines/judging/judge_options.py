"""A judge's own section of a configuration, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from pipelines.config.source_kinds import Section
from pipelines.errors import UserError, nearest

if TYPE_CHECKING:
    from components.vision_models.loading import Place

Of = TypeVar("Of", bound=Section)


class HubSection(Section):
    """Which published model a judge is."""

    path: Annotated[str, Field(min_length=1)]  # hub id or folder
    revision: str | None = None  # of a hub id


class ModelSection(HubSection):
    """Options of judges that say how their model runs."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8  # pictures that the model takes at once
    precision: Literal["fp32", "bf16"] = "fp32"


def read_options(section: type[Of], options: Mapping[str, Any]) -> Of:
    """Return the options of a judge. UserError, in words, where a key is unknown, missing or wrong."""
    unknown = [key for key in options if key not in section.model_fields]
    if unknown:
        known = ", ".join(section.model_fields)
        raise UserError(
            f"it has no option {unknown[0]!r}{nearest(unknown[0], section.model_fields) or '.'} Its options: {known}"
        )
    try:
        return section.model_validate(dict(options))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise UserError("; ".join(lines)) from None


def place_of(place: Place, options: ModelSection) -> Place:
    """Return where the model of a judge runs, and in what its products are."""
    return dataclasses.replace(place, bf16=options.precision == "bf16")
