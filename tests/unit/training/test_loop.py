"""The training loop: interrupted runs end as uninterrupted ones, bit for bit, and what goes wrong is said."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.training.checkpoints import (
    AVERAGE,
    Checkpoints,
    TrainingFailed,
    is_read_by,
    parse_state,
    state_bytes,
)
from components.training.ema import WeightAverage
from components.training.loop import Hooks, Place, train
from components.training.optimizers import learning_rate, split_parameters
from components.training.options import OptimizerOptions, TrainingOptions
from tests.unit.training.small_training import Data, Job, Net, run, same

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"zero_stage": 2, "optimizer": OptimizerOptions(lr=1e-2)},
        {"zero_stage": 3, "optimizer": OptimizerOptions(lr=1e-2)},
        {"accumulate": 2, "adversarial": False},
    ],
    ids=["muon", "bf16", "zero2", "zero3", "accumulation"],
)
def test_a_stopped_run_ends_as_one_that_never_stopped_bit_for_bit(tmp_path, options):
    result, whole = run(tmp_path / "whole", **options)
    assert result.finished and result.step == 12
    stopped, _ = run(tmp_path / "cut", stop_after=6, **options)
    assert (stopped.step, stopped.finished) == (6, False)
    result, resumed = run(tmp_path / "cut", **options)
    assert result.finished and same(whole, resumed)
    assert not same(whole, Job(True) if options.get("adversarial", True) else Job(False))  # it did learn


def test_work_since_the_last_checkpoint_is_done_again_and_only_the_last_ones_are_kept(tmp_path):
    _, whole = run(tmp_path / "whole", keep=2)
    kept = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert kept == ["step-00000008", "step-00000012"]
    # A kill leaves the newest checkpoint half written, aside.
    (tmp_path / "whole" / "step-00000012").rename(tmp_path / "whole" / ".partial-step-00000012")
    result, again = run(tmp_path / "whole", keep=2)
    assert result.step == 12 and same(whole, again)
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == kept


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(tmp_path):
    _, whole = run(tmp_path / "a")
    victim = next((tmp_path / "a" / "step-00000012").rglob("*.pt"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    found = Checkpoints(tmp_path / "a", 2).latest()
    assert found is not None and found[1]["step"] == 8
    _, again = run(tmp_path / "a")
    assert same(whole, again)


def test_a_rank_fetches_what_it_reads_of_the_newest_checkpoint_that_is_whole_for_all(tmp_path):
    run(tmp_path / "a", adversarial=False)
    checkpoints, brought = Checkpoints(tmp_path / "a", 2), []

    def bring(checkpoint: str, names: list[str]) -> None:
        brought.append((checkpoint, set(names)))

    found = checkpoints.latest(0, bring=bring)
    assert found is not None and found[1]["step"] == 12
    everything = set(found[1]["files"])
    assert brought == [("step-00000012", everything)] and AVERAGE in everything
    brought.clear()
    others = iter([[4, 8, 12], False, True])  # another rank's steps, and whether each is whole for it
    found = checkpoints.latest(1, lambda value: [value, next(others)], bring)
    assert found is not None and found[1]["step"] == 8
    assert brought == [(f"step-{step:08d}", everything - {AVERAGE}) for step in (12, 8)]


def test_what_a_rank_reads_is_its_own_and_what_is_shared():
    names = ["model/zero_pp_rank_1_mp_rank_00_optim_states.pt", "model/bf16_zero_pp_rank_12_mp_rank_00_optim_states.pt",
             "model/mp_rank_00_model_states.pt", AVERAGE]  # fmt: skip
    read = {rank: [name for name in names if is_read_by(name, rank)] for rank in (0, 1, 12)}
    assert read == {0: names[2:], 1: [names[0], names[2]], 12: names[1:3]}


def test_a_checkpoint_that_names_files_outside_its_folder_is_passed_over(tmp_path):
    run(tmp_path / "a", adversarial=False, stop_after=4)
    path = tmp_path / "a" / "step-00000004" / "state.json"
    state = parse_state(path.read_bytes(), "state")
    path.write_bytes(state_bytes({**state, "files": {**state["files"], "../../owned": [1, ""]}}))
    brought: list[str] = []
    assert Checkpoints(tmp_path / "a", 2).latest(0, bring=lambda _, names: brought.extend(names)) is None
    assert brought == []


@pytest.mark.parametrize("change", [(b'"seed": 7', b'"seed": 6'), (b'"step": 12', b'"step": 13'), (b"}", b"} ")])
def test_a_changed_state_is_passed_over_like_a_changed_file(tmp_path, change):
    run(tmp_path / "a", stop_after=12)
    path = tmp_path / "a" / "step-00000012" / "state.json"
    assert change[0] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(*change))
    found = Checkpoints(tmp_path / "a", 2).latest()
    assert found is not None and found[1]["step"] == 8


def test_a_finished_run_starts_no_step_again(tmp_path):
    run(tmp_path / "a")
    log = []
    result, _ = run(tmp_path / "a", log=log)
    assert result.finished and log == []


def test_another_number_of_workers_or_another_seed_is_refused_with_what_to_do(tmp_path):
    run(tmp_path / "a", stop_after=4)
    path = tmp_path / "a" / "step-00000004" / "state.json"
    state = parse_state(path.read_bytes(), "state")
    path.write_bytes(state_bytes({**state, "world": 2}))
    with pytest.raises(TrainingFailed, match=r"written by 2 workers, and there are 1 now\. Resume with 2 workers, or"):
        run(tmp_path / "a")
    path.write_bytes(state_bytes(state))
    with pytest.raises(TrainingFailed, match="seed=7, and it is 8 now"):
        run(tmp_path / "a", seed=8)


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    run(tmp_path / "a", stop_after=4, adversarial=False)
    folder = tmp_path / "a" / "step-00000004"
    victim = next(folder.rglob("*model_states.pt"))
    torch.save({"module": Evil()}, victim)
    state = parse_state((folder / "state.json").read_bytes(), "state")
    import hashlib

    name = victim.relative_to(folder).as_posix()
    state["files"][name] = [victim.stat().st_size, hashlib.sha256(victim.read_bytes()).hexdigest()]
    (folder / "state.json").write_bytes(state_bytes(state))
    with pytest.raises(ValueError, match="holds more than tensors and plain values"):
        run(tmp_path / "a", adversarial=False)
    assert not (tmp_path / "owned").exists()


def test_accumulated_micro_batches_are_the_whole_batch(tmp_path):
    class Plain(Net):
        def forward(self, batch, progress, critic):
            loss = (self.down(torch.relu(self.up(batch["x"]))) - batch["x"]).square().mean()
            return loss, {}, None

    def weights(parts: int):
        job = Job(False)
        job.module = Plain()
        torch.manual_seed(0)
        job.module.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
        options = TrainingOptions(
            steps=3, batch=8, accumulate=parts, precision="fp32", ema=0.0, optimizer=OptimizerOptions(lr=1e-2)
        )
        train(job, Data(), options, 0, tmp_path / str(parts), Place(), Hooks())
        return job.module.up.weight.detach()

    torch.testing.assert_close(weights(1), weights(4), atol=1e-5, rtol=1e-4)


def test_recomputed_activations_change_nothing(tmp_path):
    def weights(again: bool):
        job = Job(False)
        job.blocks = (nn.LayerNorm, nn.Linear)
        options = TrainingOptions(
            steps=3, batch=8, precision="fp32", checkpoint_activations=again, optimizer=OptimizerOptions(lr=1e-2)
        )
        train(job, Data(), options, 0, tmp_path / str(again), Place(), Hooks())
        return list(job.module.state_dict().items())

    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in zip(weights(False), weights(True), strict=True))


def test_figures_tell_loss_rate_time_left_and_utilisation(tmp_path):
    log = []
    run(tmp_path / "a", log=log)
    assert [step for step, _ in log] == list(range(1, 13))
    figures = log[-1][1]
    assert {"loss", "error", "critic", "samples_per_second", "seconds_left", "flops_utilisation"} <= set(figures)
    assert figures["seconds_left"] == 0 and 0 < figures["flops_utilisation"] < 1


def test_the_average_starts_at_the_weights_and_follows_them():
    net = nn.Linear(2, 1, bias=False)
    average = WeightAverage(net, 0.9)
    start = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    average.update(0)
    torch.testing.assert_close(average.values["weight"], start + 0.9)  # decay 0.1 at the first step
    with average.applied():
        torch.testing.assert_close(net.weight, start + 0.9)
    torch.testing.assert_close(net.weight, start + 1)


def test_the_learning_rate_warms_up_and_falls_as_a_cosine():
    options = OptimizerOptions(warmup=0.1, final_lr=0.1)
    rates = [learning_rate(step, 100, options) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0) and max(rates) == pytest.approx(1.0)
    assert rates[54] == pytest.approx(0.55 + 0.45 * 0.0174, abs=0.02) and rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_muon_gets_the_hidden_matrices_and_adamw_the_rest():
    matrices, others = split_parameters(Net())
    assert sorted(p.shape for p in matrices) == [(8, 16), (16, 8)]
    assert all(p.ndim == 1 for p in others) and len(others) == 4
    with pytest.raises(ValueError, match="muon needs whole matrices"):
        TrainingOptions(zero_stage=3, optimizer=OptimizerOptions(kind="muon"))
