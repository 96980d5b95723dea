"""The stores of the command line's own tests serve here, too."""

from tests.integration.pipelines.conftest import copy, finished, fresh, trained

__all__ = ["copy", "finished", "fresh", "trained"]
