"""The driver of a run: takes leases, starts ready stages as Ray tasks at the same time, commits what they made.

`identity.py` plans, `stage_task.py` runs inside Ray, and `live.py` shows the run to the user.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.cluster.resources import Demand, driver_options, resources_of, unmet
from pipelines.config.compose import to_dict
from pipelines.config.declared import SentConfig
from pipelines.config.schema import Config
from pipelines.errors import Interrupted, UserError, one_line
from pipelines.stage import Stage
from pipelines.store.artifacts import Artifact, Manifest, Work, artifact_path, content_digest
from pipelines.store.files import Store, canonical_json, sha256_text
from pipelines.store.leases import Leases, holder_text
from pipelines.store.runs import Run, StageState, clear_stop, now, request_stop, save_run
from pipelines.versions import versions
from pipelines.workflow.code_digests import OLDER_CODE
from pipelines.workflow.identity import Identity, older_code, state_of
from pipelines.workflow.stop_signals import StopSignals

if TYPE_CHECKING:
    from pipelines.workflow.stage_task import StageOutcome

POLL = 0.25
STAGE_RETRIES = 2  # a stage whose own worker dies goes on from its finished shards


class Listener(Protocol):
    """An observer of a run: the live view, and the MLflow log."""

    def stage_changed(self, run: Run, name: str, artifact: Artifact | None) -> None:
        """Called when a stage changes its state; `artifact` is given once it is done."""

    def tick(self, run: Run) -> None:
        """Called a few times a second."""


class Driver:
    """Drives one run to its end. `execute` returns when every wanted stage is done, failed or skipped."""

    def __init__(
        self,
        store: Store,
        config: Config,
        stages: list[Stage],
        identities: dict[str, Identity],
        run: Run,
        listeners: list[Listener],
        leases: Leases,
        keep_ray: bool = False,
        after: Mapping[str, Callable[[Artifact], None]] | None = None,
    ) -> None:
        """`leases` hold the run's own lease already. `after` is what follows a stage once it is done, made now or
        before.
        """
        self.after = after or {}
        self._leases = leases
        self.store = store
        self.config = config
        self.stages = {stage.name: stage for stage in stages if stage.name in run.stages}
        self.identities = identities
        self.run = run
        self.listeners = listeners
        self._artifacts: dict[str, Artifact] = {}
        self._running: dict[Any, tuple[str, float, list[str]]] = {}
        self._owns_ray = False
        self._keep_ray = keep_ray  # the caller has more runs for it, and ends it
        self._signals = StopSignals()

    def execute(self) -> Run:
        """Run what must run. Raises `Interrupted` on Ctrl-C or SIGTERM, after everything was put in order."""
        started = time.monotonic()
        clear_stop(self.store, self.run.id)
        save_run(self.store, self.run)
        try:
            with self._signals:
                self._loop()
            failed = [name for name, s in self.run.stages.items() if s.state != "done"]
            self.run.state = "failed" if failed else "completed"
        except Interrupted:
            self._let_training_save()
            self.run.state = "interrupted"
            for name, state in self.run.stages.items():
                if state.state == "running":
                    self._set(name, "interrupted")
            raise
        except BaseException:
            self.run.state = "failed"
            raise
        finally:
            self.run.seconds += time.monotonic() - started
            self.run.finished = now()
            try:
                save_run(self.store, self.run)
            finally:
                self._stop_ray()
        return self.run

    def _let_training_save(self) -> None:
        """After a signal: ask what trains to write a checkpoint, and wait for it; a second signal ends the wait."""
        training = [reference for reference, (name, _, _) in self._running.items() if self.stages[name].trains]
        if not training:
            return
        import ray

        request_stop(self.store, self.run.id)
        with self._signals.again() as second:
            until = time.monotonic() + self.config.execution.grace_seconds
            while training and time.monotonic() < until and not second():
                _, training = ray.wait(training, num_returns=len(training), timeout=POLL)

    def _loop(self) -> None:
        pending = list(self.stages)
        while pending or self._running:
            for name in list(pending):
                if self._advance(name):
                    pending.remove(name)
            self._signals.check()
            self._collect()
            self._signals.check()
            for listener in self.listeners:
                listener.tick(self.run)

    def _advance(self, name: str) -> bool:
        """Start a stage, or settle it without running it; False while its inputs or its lease are not there."""
        stage, state = self.stages[name], self.run.stages[name]
        states = [self.run.stages[i].state for i in stage.inputs]
        lost = [i for i, s in zip(stage.inputs, states, strict=True) if s in ("failed", "skipped")]
        if lost:
            self._set(name, "skipped", error=f"its input {lost[0]} did not come about")
            return True
        if any(s != "done" for s in states):
            return False
        forced = name in self.run.force and state.state != "done"
        artifact, reasons = (None, ["forced"]) if forced else self._state(name)
        anew = forced or any(reason.startswith(OLDER_CODE) for reason in reasons)  # no shard of before is kept
        if artifact is not None:
            self._done(name, artifact, cached=True, seconds=0.0)
            return True
        holder = self._leases.acquire(f"stage-{name}-{state.fingerprint}")
        if holder is not None:
            self._set(name, "waiting", reason=f"held by {holder_text(holder)}")
            return False
        if not forced:
            # Another driver may have committed it between the check and the lease.
            artifact, reasons = self._state(name)
            if artifact is not None:
                self._leases.release(f"stage-{name}-{state.fingerprint}")
                self._done(name, artifact, cached=True, seconds=0.0)
                return True
        self._start(name, reasons, anew)
        return True

    def _state(self, name: str) -> tuple[Artifact | None, list[str]]:
        inputs = {i: self._artifacts[i] for i in self.stages[name].inputs}
        return state_of(self.store, self.identities[name], inputs)

    def _work(self, name: str) -> Work:
        digests = {i: self._artifacts[i].manifest.digest for i in self.stages[name].inputs}
        identity = self.identities[name]
        return Work(self.store, name, identity.fingerprint, {**digests, **identity.external})

    def _start(self, name: str, reasons: list[str], anew: bool) -> None:
        work = self._work(name)
        self._make_room(work, self.identities[name], anew)
        self._start_ray()
        # Ray is imported only where something runs: a cached run ends before.
        import ray

        from pipelines.workflow.stage_task import StageLaunch, run_stage

        stage, identity = self.stages[name], self.identities[name]
        manifests = {i: self._artifacts[i].manifest.to_json() for i in stage.inputs}
        # Nodes come and go: what none can give now, Ray waits for, and the stage says what it waits for.
        waits = [f"waits for nodes: it {w}" for w in unmet([Demand.of(self.config, stage)], ray.nodes()).values()]
        self._set(name, "running", reason="; ".join([*reasons, *waits]), log=f"{self.run.path}/logs/{name}.log")
        options = driver_options(resources_of(self.config, name))
        task = ray.remote(run_stage).options(max_retries=STAGE_RETRIES, name=f"stage-{name}", **options)
        config = SentConfig(to_dict(self.config), name, stage.config, stage.without)
        launch = StageLaunch(
            self.store.absolute_url, self.run.id, stage, identity.fingerprint, config, manifests, identity.external
        )
        reference = task.remote(launch)
        self._running[reference] = (name, time.monotonic(), reasons)

    def _make_room(self, work: Work, identity: Identity, anew: bool) -> None:
        """Keep the finished shards of an earlier attempt, or none of them: of a stage that is made anew, or by other
        code where that counts.
        """
        code_mark = f"{work.path}/.code-{sha256_text(canonical_json(identity.code))[:16]}"
        if anew:
            # The mark tells shards of this run, which a resume keeps, from older ones, which it must not use.
            mark = f"{work.path}/.forced-by-{self.run.id}"
            if not self.store.exists(mark):
                work.clear()
                self.store.write_bytes(mark, b"")
        else:
            if identity.rerun_on_code_change and work.records() and not self.store.exists(code_mark):
                work.clear()
            work.reopen()
        self.store.write_bytes(code_mark, b"", durable=False)

    def _collect(self) -> None:
        if not self._running:
            time.sleep(POLL if any(s.state == "waiting" for s in self.run.stages.values()) else 0)
            return
        import ray

        ready, _ = ray.wait(list(self._running), timeout=POLL)
        for reference in ready:
            name, started, _ = self._running.pop(reference)
            try:
                result = ray.get(reference)
                artifact = self._commit(name, result, time.monotonic() - started)
            except (ray.exceptions.RayError, UserError, OSError) as error:
                cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
                self._set(name, "failed", error=one_line(cause), seconds=time.monotonic() - started)
            else:
                self._done(name, artifact, cached=False, seconds=time.monotonic() - started)
            self._leases.release(f"stage-{name}-{self.run.stages[name].fingerprint}")

    def _commit(self, name: str, result: StageOutcome, seconds: float) -> Artifact:
        identity, files = self.identities[name], result.files
        manifest = Manifest(
            stage=name,
            stage_version=identity.stage.version,
            fingerprint=identity.fingerprint,
            digest=content_digest(files),
            inputs={
                i: {
                    "fingerprint": self._artifacts[i].manifest.fingerprint,
                    "digest": self._artifacts[i].manifest.digest,
                }
                for i in identity.stage.inputs
            },
            external=identity.external,
            config=identity.config,
            files=sorted(files, key=lambda f: f.path),
            counts=result.counts,
            metrics=result.metrics,
            versions=versions(),
            run=self.run.id,
            created=now(),
            seconds=round(seconds, 3),
            code=identity.code,
        )
        return self._work(name).commit(manifest)

    def _done(self, name: str, artifact: Artifact, cached: bool, seconds: float) -> None:
        self._artifacts[name] = artifact
        self._set(
            name,
            "done",
            artifact=artifact,
            cached=cached,
            seconds=round(seconds, 3),
            error="",
            reason=older_code(self.identities[name], artifact) if cached else None,
        )
        if name in self.after:
            self.after[name](artifact)

    def _set(self, name: str, state: str, artifact: Artifact | None = None, **values: Any) -> None:
        before = asdict(self.run.stages[name])
        current = self.run.stages[name]
        current.state = state
        for key, value in values.items():
            if value is not None:
                setattr(current, key, value)
        if asdict(current) != before:
            for listener in self.listeners:
                listener.stage_changed(self.run, name, artifact)
            save_run(self.store, self.run)

    def _start_ray(self) -> None:
        import ray

        if ray.is_initialized():
            return
        from pipelines.cluster.connect import check_demands, check_shared, connect

        address = connect(self.config.cluster)
        self._owns_ray = True
        self._signals.install()  # ray.init puts a handler of its own on SIGTERM
        check_demands(self._demands(), self.config.cluster, address, self._signals.check)
        check_shared(self.store)

    def _demands(self) -> list[Demand]:
        """What the stages ask for that will run: those whose artifact is not there, or is to be made again."""
        waiting = [s for name, s in self.stages.items() if self.run.stages[name].state == "waiting"]
        return [
            Demand.of(self.config, stage)
            for stage in waiting
            if stage.name in self.run.force
            or not self.store.exists(artifact_path(stage.name, self.identities[stage.name].fingerprint))
        ]

    def _stop_ray(self) -> None:
        if self._owns_ray and not self._keep_ray:
            import ray

            ray.shutdown()


def start_stages(run: Run, identities: dict[str, Identity], wanted: list[str]) -> None:
    """Set the stages of a run to waiting, keeping what a resumed run already knows of those that are done."""
    run.stages = {
        name: StageState(
            fingerprint=identities[name].fingerprint, mlflow_run=old.mlflow_run if (old := run.stages.get(name)) else ""
        )
        for name in wanted
    }
