"""Following an alias in a real registry: a new version answers once it has answered a warm-up, a broken one never."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.serve.watch import Watch
from tests.integration.serve.small_registry import CHAMPION, SmallRegistry

pytestmark = pytest.mark.integration


def test_the_alias_is_followed_and_a_broken_version_leaves_the_old_one_in_place(tmp_path, empty_mlflow):
    models = SmallRegistry(tmp_path / "store", empty_mlflow)
    first, second, third = (models.add(seed) for seed in range(3))
    models.damage(second)
    models.promote(first)

    async def follow() -> None:
        with ThreadPoolExecutor(1) as torch:
            watch = Watch(CHAMPION, str(models.store), torch)
            assert watch.serving.facts["id"] == "pixsem-generator/1" and watch.serving.facts["alias"] == "champion"
            opened = watch.serving
            assert (await watch.look())["refused"] == "" and watch.serving is opened  # nothing has moved

            models.promote(second)
            refused = (await watch.look())["refused"]
            assert "pixsem-generator/2" in refused and "cannot be loaded" in refused and watch.serving is opened
            await watch.look(again=False)
            assert watch.state["refused"] == refused  # it is not opened again and again, and the reason stays

            models.promote(third)
            following = asyncio.create_task(watch.follow(0.05))
            while watch.serving is opened:
                await asyncio.sleep(0.05)
            following.cancel()
            assert watch.serving.facts["id"] == "pixsem-generator/3" and watch.state["refused"] == ""

            models.promote(first)  # a rollback is a move, too
            assert (await watch.look())["refused"] == "" and watch.serving.facts["version"] == "1"

    asyncio.run(asyncio.wait_for(follow(), 120))
