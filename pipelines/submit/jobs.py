"""Runs on a Ray cluster through its job server: handing a run over, following its log, stopping it. What is sent along
is `shipping.py`'s.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.errors import UserError, one_line
from pipelines.submit.shipping import CONFIG_DIR, pack, runtime_environment

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

    from pipelines.config.schema import Config

CONNECT_SECONDS = 10.0
QUIET_SECONDS = 60.0  # without a line, after which the log is asked for anew: the connection may be dead
LOST_SECONDS = 120.0  # that a cluster may be out of reach before following ends
POLL = 1.0
STOPPED = 128 + 15  # the exit code of what SIGTERM ended


@dataclass(frozen=True)
class Request:
    """A run to hand over: its overrides and options as `pixsem run` takes them, and the configuration they make; or a
    model of its store to serve.
    """

    config: Config
    overrides: list[str]
    config_dir: Path | None
    until: str | None
    force: list[str]
    packages: list[str]  # pinned, to be installed; empty: the cluster's image has them
    variables: dict[str, str]
    served: list[str] | None = None  # arguments of `pixsem serve`, in the place of a run

    def entrypoint(self) -> str:
        """Return the job's command line."""
        command = ["python", "-m", "pipelines.job"]
        if self.served is not None:
            return shlex.join([*command, "serve", *self.served, "--store", self.config.store])
        words = [*command, "run", *self.overrides]
        words += ["--config-dir", CONFIG_DIR] if self.config_dir else []
        words += ["--until", self.until] if self.until else []
        return shlex.join(words + [word for name in self.force for word in ("--force", name)])


def shared_store(store: str, is_shared: bool) -> str:
    """Return the store's address as the cluster's nodes reach it.

    Raises `UserError` for a folder that only this machine can mean, unless it is said to be shared (`is_shared`); then
    it is made absolute. An absolute folder is taken to be a shared disk: the job looks whether every node has it.
    """
    protocol, _, path = store.rpartition("://")
    if protocol == "memory":
        raise UserError(
            f"store={store} lives in one process: give one that every node reaches, as store=s3://bucket/path."
        )
    if protocol not in ("", "file") or Path(path).is_absolute():
        return store
    if not is_shared:
        raise UserError(
            f"store={store} is a folder of this machine, which the cluster does not see. Give a store that every "
            "node and you reach: store=s3://bucket/path, or store=/a/shared/disk. If every node has this very folder "
            "under the same path: "
            "--shared-store"
        )
    return str(Path(path).expanduser().resolve())


class JobServer:
    """The job server of one cluster. Every method may raise `UserError`."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"--address {address}: give the address of the cluster's job server, which its dashboard has too: "
                "http://host:8265"
            )
        self._client = self._connect()

    def _connect(self) -> JobSubmissionClient:
        # Ray's own variables overrule what its client is given: here the option has the last word. A token is only sent
        # where token mode is on, and whoever sets a token means it to be sent.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import requests

        try:
            requests.get(f"{self.address}/api/version", timeout=CONNECT_SECONDS)  # Ray's client would wait for minutes
        except requests.RequestException as error:
            raise UserError(
                f"no Ray job server can be reached at {self.address} ({type(error).__name__}). Is the cluster up, "
                "its dashboard started (ray[default]), and the port open or forwarded to here?"
            ) from None
        from ray.job_submission import JobSubmissionClient

        return self._ask(lambda: JobSubmissionClient(self.address))

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Ask the server something; what can go wrong is said in words for people."""
        from ray.exceptions import AuthenticationError

        try:
            return question()
        except UserError:
            raise
        except AuthenticationError:
            raise UserError(
                f"{self.address} wants a token and {_token_text()}. Give the cluster's token with RAY_AUTH_TOKEN, "
                "or its file with RAY_AUTH_TOKEN_PATH; RAY_AUTH_MODE=token alone sends ~/.ray/auth_token."
            ) from None
        except (RuntimeError, OSError, ValueError) as error:
            raise UserError(f"the job server at {self.address} does not do it: {one_line(error)}") from None

    def submit(self, request: Request) -> str:
        """Hand a run over and return its job's id."""
        config = request.config
        job = f"pixsem-{config.preset}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "package"
            package.mkdir()
            pack(package, request.config_dir, config.store, request.variables)
            environment = runtime_environment(package, request.packages, config.execution.grace_seconds)
            self._ask(
                lambda: self._client.submit_job(
                    entrypoint=request.entrypoint(),
                    submission_id=job,
                    runtime_env=environment,
                    metadata={"pixsem.store": config.store, "pixsem.preset": config.preset},
                )
            )
        return job

    def info(self, job: str) -> JobDetails:
        """Return what the server knows of a job."""
        return self._ask(lambda: self._info(job))

    def _info(self, job: str) -> JobDetails:
        try:
            return self._client.get_job_info(job)
        except RuntimeError as error:
            if "status code 404" not in str(error):
                raise
            raise UserError(
                f"the cluster at {self.address} knows no job {job}. List its jobs with: ray job list --address "
                f"{self.address}"
            ) from None

    def follow(self, job: str, write: Callable[[str], object]) -> int:
        """Write a job's log, from its beginning, until it ends; return its exit code.

        A lost connection is made again where it was, for up to `LOST_SECONDS`; the job itself does not depend on it.
        """
        self.info(job)
        asyncio.run(self._follow(job, write))
        return exit_code(self.info(job))

    async def _follow(self, job: str, write: Callable[[str], object]) -> None:
        import aiohttp

        written, reached = 0, time.monotonic()
        while True:
            try:
                position = 0
                lines = self._client.tail_job_logs(job)  # always from the beginning
                while (text := await _next(lines)) is not None:
                    write(text[max(0, written - position) :])
                    position += len(text)
                    written, reached = max(written, position), time.monotonic()
                if (await asyncio.to_thread(self._info, job)).status.is_terminal():
                    return
            except TimeoutError:
                continue  # nothing was said for a while: ask again, in case nobody is there
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                if time.monotonic() - reached > LOST_SECONDS:
                    raise UserError(
                        f"the connection to {self.address} is lost ({one_line(error)}). The job goes on without "
                        f"it; attach again with: {attach_command(self.address, job)}"
                    ) from None
                await asyncio.sleep(POLL)

    def stop(self, job: str) -> JobDetails:
        """Ask a job to stop, wait until it has, and return what became of it: training saves a checkpoint first."""
        self.info(job)
        self._ask(lambda: self._client.stop_job(job))
        while not (found := self.info(job)).status.is_terminal():
            time.sleep(POLL)
        return found


async def _next(lines: Any) -> str | None:
    """Return the next piece of a log, None at its end; TimeoutError where none comes."""
    async with asyncio.timeout(QUIET_SECONDS):
        return await anext(lines, None)


def exit_code(info: JobDetails) -> int:
    """Return a job's exit code, that of its command line where it came to run."""
    from ray.job_submission import JobStatus

    if info.status == JobStatus.SUCCEEDED:
        return 0
    return STOPPED if info.status == JobStatus.STOPPED else info.driver_exit_code or 1


def attach_command(address: str, job: str) -> str:
    """Return the command that follows a job."""
    return f"pixsem submit --address {address} --follow {job}"


def stop_command(address: str, job: str) -> str:
    """Return the command that stops a job."""
    return f"pixsem submit --address {address} --stop {job}"


def _token_text() -> str:
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return "none was sent"
    return "did not take the one that was sent, or none was found"
