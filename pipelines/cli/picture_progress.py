"""The bar that shows on a terminal how far pictures are."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(pictures: int) -> Iterator[Callable[[float], None]]:
    """Show a bar on a terminal, and nothing elsewhere. Yields what is told how many pictures are made, parts of one
    included.
    """
    if not sys.stderr.isatty():
        yield lambda made: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[whole]}"), TimeElapsedColumn())
    # Names of files are printed above the bar where they go to the terminal, too, and else to where they are wanted.
    above = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above) as bar:
        task = bar.add_task("opening the model", total=None, whole="")

        def tell(made: float) -> None:
            bar.update(task, description="pictures", total=pictures, completed=made, whole=f"{int(made)}/{pictures}")

        yield tell
