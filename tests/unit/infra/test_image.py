"""The Dockerfile and the compose file: pinned, not root, no secrets, and every file they copy is there and let
through.
"""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch

import pytest
import yaml

from tests.unit.infra.manifests import INFRA, ROOT, containers, manifests

pytestmark = pytest.mark.unit

TEXT = (INFRA / "docker" / "Dockerfile").read_text()
# Instructions, with continued lines joined and comments left out.
LINES = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
INSTRUCTIONS = [(word, rest) for word, _, rest in (line.partition(" ") for line in LINES) if word]


def instructions(word: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == word]


def test_it_runs_as_a_user_who_is_not_root():
    assert instructions("USER") == ["1000:1000"]
    assert "--uid 1000" in TEXT


def test_every_package_is_held_to_the_constraints():
    installs = [part for rest in instructions("RUN") for part in re.findall(r"pip install[^;&]*", rest)]
    assert len(installs) == 3
    for command in installs:
        assert "--constraint constraints.txt" in command or "--no-deps ." in command, command
    assert "DS_BUILD_OPS=0" in TEXT


def test_the_extras_it_installs_are_the_projects():
    extras = next(rest for rest in instructions("ARG") if rest.startswith("EXTRAS=")).partition("=")[2].split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras and set(extras) <= set(known) - {"dev"}


def test_what_it_copies_is_there_and_not_ignored():
    ignore = (INFRA / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in ignore if line.startswith("!")]
    copied = [s for rest in instructions("COPY") if not rest.startswith("--from") for s in rest.split()[:-1]]
    assert len(copied) >= 8
    for source in copied:
        assert list(ROOT.glob(source)), f"{source} is not there"
        assert any(fnmatch(source, line) or source == line for line in let_through), f"{source} is ignored"
    assert "*" in ignore, "everything else, such as server.env, stays out"


def test_scripts_that_manifests_call_are_in_the_image():
    called = {
        word for m in manifests() for c in containers(m) for word in c.get("command", ()) if word.startswith("infra/")
    }
    assert called == {"infra/mlflow/serve.sh", "infra/mlflow/add_user.py", "infra/mlflow/make_buckets.py"}
    assert "WORKDIR /home/pixsem" in LINES
    (line,) = [rest for rest in instructions("COPY") if rest.endswith("/home/pixsem/infra/mlflow/")]
    for script in called:
        assert any(fnmatch(script, source) for source in line.split())


def test_no_secret_is_an_argument_or_a_variable_of_the_image():
    for rest in [*instructions("ARG"), *instructions("ENV")]:
        assert not re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", rest)


def test_compose_publishes_mlflow_on_127_0_0_1_and_holds_no_secret():
    text = (INFRA / "mlflow" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert services["mlflow"]["ports"] == ["${MLFLOW_PUBLISH:-127.0.0.1}:5000:5000"]
    assert "ports" not in services["postgres"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${PGPASSWORD:?")
    build = services["mlflow"]["build"]
    assert (INFRA / "mlflow" / build["context"] / build["dockerfile"]).resolve() == INFRA / "docker" / "Dockerfile"
    assert set(build["args"]) <= {rest.partition("=")[0] for rest in instructions("ARG")}
    assert services["mlflow"]["command"] == ["infra/mlflow/serve.sh"]
