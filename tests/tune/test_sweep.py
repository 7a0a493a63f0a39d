"""Whole sweeps on the nasty database: trials that fail in each way, a killed driver, the best setting run again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from relbench.load import RelBenchDataset
from safetensors.torch import load_file

from distributed.runs.folder import write_json
from distributed.runs.preset_file import read_preset_file
from distributed.runs.tracking import TrackingConfig
from distributed.training.finetune import FinetuneJob, run_job
from distributed.training.trainer import pretrain
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.pretraining import pretrain_here
from rdl_core.tasks.downstream import as_deep_as
from tests import REPOSITORY
from tests.tune.sweep_plans import KILLED_STEPS, plan_to_kill, small_base, small_plan, suggested_plan
from tests.wandb_files import logged, records
from tune.commands import exit_status
from tune.results.ledger import Ledger
from tune.results.sweep_report import markdown, write_report
from tune.results.sweep_result import SweepResult, read_sweep
from tune.suggestions import STARTUP_TRIALS
from tune.sweep import run_sweep
from tune.sweep_plan import SweepPlan

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.ray,
    # Of Ray's own code: Tune's result and resource objects, and deprecated fields of Ray Data's context.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
SETTINGS: list[dict[str, Any]] = [
    {"learning_rate": 1e-3, "corruption.probability": 0.2},
    {"learning_rate": 1e-3, "corruption.probability": 0.6},
    {"learning_rate": 1e-4, "corruption.probability": 0.2},
    {"learning_rate": 1e30, "corruption.probability": 0.4},  # a loss that is not finite
    {"backbone.channels": 4_000_000},  # no memory for it
    {"samples_per_step": 10_000_000},  # a step without end
    {"learning_rate": 1e-5, "corruption.probability": 0.2},
]
WELL, NAN, THROWS, HANGS, LATE = ("0", "1", "2"), "3", "4", "5", "6"


@pytest.fixture(scope="module")
def swept(nasty_store: Store, ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    """A sweep in which three trials fail, each in its way; W&B is offline."""
    folder, left_before = tmp_path_factory.mktemp("sweeps") / "failing", _left()
    pretrain_here(nasty_store, small_base(1))  # kernels are compiled here, so that no trial waits for that
    before = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = "offline"
    try:
        run_sweep(small_plan(nasty_store.path, folder, SETTINGS, small_base(), wandb=True))
    finally:
        os.environ.pop("WANDB_MODE")
        if before is not None:
            os.environ["WANDB_MODE"] = before
    assert _left_in_the_end(left_before) == set(), "no actor and no placement group"
    return read_sweep(folder)


def test_failing_trials_are_named_with_their_reasons_and_the_others_go_on(swept: SweepResult) -> None:
    found = swept.ledger.records
    assert {t: found[t].status for t in (NAN, THROWS, HANGS)} == {NAN: "failed", THROWS: "failed", HANGS: "hung"}
    assert "FloatingPointError: " in found[NAN].reason
    assert "not finite" in found[NAN].reason
    assert "allocate" in found[THROWS].reason
    assert "no step for too long; it stood at File" in found[HANGS].reason
    assert all(found[t].status in ("finished", "stopped") for t in (*WELL, LATE))
    assert (found["0"].status, found["0"].steps) == ("finished", 16)
    assert found[LATE].status == "stopped", "the smallest steps come last and are not in the better half"


def test_all_trials_measure_the_same_whatever_their_corruption(swept: SweepResult) -> None:
    starts = [
        {k: v for k, v in swept.ledger.records[t].results[0].items() if k.startswith("validation/")}
        for t in (*WELL, LATE)
    ]
    assert all(start == starts[0] for start in starts)
    assert len(starts[0]) == 3


def test_the_report_ranks_and_tells_and_the_exit_status_follows(swept: SweepResult) -> None:
    result = write_report(swept)
    assert list(result) == ["trials", "best", "steps_used_share", "preset"]
    assert all(list(t) == ["id", "config", "status", "steps", "metric"] for t in result["trials"])
    finished = {t["id"]: t["metric"] for t in result["trials"] if t["status"] == "finished"}
    assert result["best"] == result["trials"][0]["id"] == min(finished, key=lambda t: finished[t])
    counted = [t["steps"] for t in result["trials"] if t["status"] in ("finished", "stopped")]
    assert result["steps_used_share"] == sum(counted) / (16 * len(counted)) < 1, "what failed is no steps saved"
    assert exit_status(result) == 3
    assert exit_status({"trials": [t for t in result["trials"] if t["id"] in WELL]}) == 0
    assert exit_status({"trials": [t for t in result["trials"] if t["id"] == THROWS]}) == 1
    folder = swept.folder / "report"
    text = (folder / "report.md").read_text()
    for trial in (NAN, THROWS, HANGS):
        assert f"- trial {trial} {swept.ledger.records[trial].status}: " in text
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(SETTINGS)
    assert all((folder / f"{name}.png").stat().st_size > 5_000 for name in ("curves", "marginals"))
    json.dumps(result)


def test_wandb_has_a_run_of_each_trial_with_its_configuration_curves_and_summary(swept: SweepResult) -> None:
    for trial in (*WELL, NAN, LATE):  # Tune killed the process of LATE
        (path,) = (swept.folder / "trials" / trial / "wandb").glob("offline-run-*/run-*.wandb")
        found = records(path)
        (run,) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
        assert (run.run_group, run.display_name) == ("failing", f"failing-{trial}")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config["corruption"]["probability"] == SETTINGS[int(trial)]["corruption.probability"]
        curves = [
            (row["_step"], row["validation/row"], row["validation/link"], row["validation/context"])
            for row in logged(path)
        ]
        record = swept.ledger.records[trial]
        assert curves == [
            (r["step"], *(r[f"validation/{level}"] for level in ("row", "link", "context"))) for r in record.results
        ]
        summary = {
            u.key: json.loads(u.value_json)
            for r in found
            if r.WhichOneof("record_type") == "summary"
            for u in r.summary.update
        }
        assert (summary["status"], summary["best_loss"]) == (record.status, record.metric)


def test_a_sweep_that_has_ended_is_not_run_again(swept: SweepResult, nasty_store: Store) -> None:
    before = (swept.folder / "events.jsonl").read_text()
    run_sweep(small_plan(nasty_store.path, swept.folder, SETTINGS, small_base()))
    assert (swept.folder / "events.jsonl").read_text() == before


def test_the_preset_file_gives_the_best_loss_again_bit_for_bit(
    swept: SweepResult, nasty_store: Store, tmp_path: Path
) -> None:
    best = swept.best()
    assert best is not None
    config = read_preset_file(swept.folder / "trials" / best.id / "preset.yaml")
    tracking = TrackingConfig(directory=str(tmp_path), run_id="", name="", enabled=False)
    done = pretrain(nasty_store, config, tmp_path, tracking=tracking)
    assert done.state.best_loss == best.metric
    theirs = load_file(swept.folder / "trials" / best.id / "model" / "model.safetensors")
    ours = load_file(done.checkpoint / "model.safetensors")
    assert all(ours[name].equal(weight) for name, weight in theirs.items()), "Ray Train and the trial's process agree"


def _left() -> set[tuple[str, str]]:
    """Returns the actors and placement groups of trials: (class or state, id)."""
    actors = [a for a in ray._private.state.actors().values() if a["State"] == "ALIVE"]
    of_trials = ("ImplicitFunc", "TrainController", "RayTrainWorker", "PlacementGroupCleaner", "SplitCoordinator")
    groups = [g for g in ray.util.placement_group_table().values() if g["state"] != "REMOVED"]
    return {(a["ActorClassName"], a["ActorID"]) for a in actors if a["ActorClassName"].startswith(of_trials)} | {
        (g["state"], g["placement_group_id"]) for g in groups
    }


def _left_in_the_end(before: set[tuple[str, str]]) -> set[tuple[str, str]]:
    end = time.monotonic() + 20
    while (left := _left() - before) and time.monotonic() < end:
        time.sleep(0.2)
    return left


@pytest.mark.slow
def test_trials_with_ray_train_workers_all_end_and_leave_nothing(
    nasty_store: Store, nasty_dataset: RelBenchDataset, ray_session: None, tmp_path: Path
) -> None:
    left_before, cpus = _left(), ray.available_resources()["CPU"]
    found = [{"learning_rate": rate} for rate in (1e-3, 1e-6)]
    downstream = suggested_plan(nasty_store.path, tmp_path, nasty_dataset.dataset_dir, 1).downstream
    plan = small_plan(
        nasty_store.path, tmp_path / "workers", found, small_base(8), workers=2, max_concurrent=1, downstream=downstream
    )
    ledger = run_sweep(plan)
    assert [r["step"] for r in ledger.records["0"].results if "objective" in r] == [1, 2, 4, 8]
    assert [r.status for r in ledger.records.values()] == ["finished", "stopped"]
    assert ledger.records["1"].steps < 8
    assert (tmp_path / "workers" / "trials" / "0" / "model" / "model.safetensors").exists()
    assert _left_in_the_end(left_before) == set()
    end = time.monotonic() + 20
    while ray.available_resources()["CPU"] < cpus and time.monotonic() < end:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] >= cpus, "a stopped trial's workers hold none"


def test_a_sweep_goes_on_after_its_driver_and_a_trial_were_killed_without_repeating_anything(
    nasty_store: Store, ray_session: None, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.tune.sweep_plans", str(nasty_store.path), str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    plan = plan_to_kill(nasty_store.path, tmp_path / "killed")
    driver = psutil.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    family: list[psutil.Process] = []
    try:
        _until(driver, plan, lambda ledger: _runs_with_steps(ledger) != [])
        next(p for p in driver.children(recursive=True) if "ray::ImplicitFunc" in "".join(p.cmdline())).kill()
        _until(driver, plan, lambda ledger: [r for r in ledger.records.values() if r.deaths] != [])
        _until(
            driver, plan, lambda ledger: len(ledger.unfinished()) < len(plan.trials) and _runs_with_steps(ledger) != []
        )
        family = driver.children(recursive=True)
    finally:
        driver.kill()
        driver.wait()
    end = time.monotonic() + 60
    while any(_lives(process) for process in family) and time.monotonic() < end:
        time.sleep(0.1)
    before = Ledger(plan.folder / "events.jsonl", plan.configs)
    ended = [t for t in plan.configs if t not in before.unfinished()]
    after = run_sweep(plan)
    assert after.unfinished() == []
    assert after.events[: len(before.events)] == before.events
    assert not {e["trial"] for e in after.events[len(before.events) :]} & set(ended), "no ended trial is run again"
    assert all(
        [r["step"] for r in rec.results] == list(range(0, rec.steps + 1, KILLED_STEPS // 8))
        for rec in after.records.values()
    )
    (died,) = [t for t, record in after.records.items() if record.deaths]
    assert after.records[died].status in ("finished", "stopped"), "a killed process is no failure of the trial"
    for trial in {died, _runs_with_steps(before)[0]}:
        _, state = pretrain_here(nasty_store, plan.configs[trial])
        resumed = [r["validation/row"] for r in after.records[trial].results]
        whole = [entry["validation/row"] for entry in state.history]
        assert resumed == whole[: len(resumed)], "it goes on with the same bits"


def test_suggested_trials_are_the_same_after_a_kill_and_their_objective_is_what_finetune_gives(
    nasty_store: Store, nasty_dataset: RelBenchDataset, ray_session: None, tmp_path: Path
) -> None:
    data = nasty_dataset.dataset_dir
    whole = run_sweep(suggested_plan(nasty_store.path, tmp_path / "whole", data, 8))
    assert len(whole.records) == 8 > STARTUP_TRIALS + 1
    killed = tmp_path / "killed"  # what a driver leaves that dies while the seventh trial runs
    shutil.copytree(tmp_path / "whole", killed)
    lines = [line + "\n" for line in (killed / "events.jsonl").read_text().splitlines() if line]
    (at,) = [n for n, line in enumerate(lines) if '"trial": "6"' in line and '"step": 1,' in line]
    (killed / "events.jsonl").write_text("".join(lines[: at + 1]) + lines[at + 1][:20])
    plan = json.loads((killed / "sweep.json").read_text())
    write_json(killed / "sweep.json", {**plan, "trials": plan["trials"][:7]})
    for trial, checkpoints in (("6", "checkpoint_*"), ("7", "*")):  # the seventh starts over
        for path in (killed / "trials" / trial).glob(checkpoints):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    after = run_sweep(suggested_plan(nasty_store.path, killed, data, 8))
    assert read_sweep(killed).settings == read_sweep(tmp_path / "whole").settings
    assert after.events[: at + 1] == whole.events[: at + 1]
    assert {t: (r.status, r.steps, r.metric) for t, r in after.records.items()} == {
        t: (r.status, r.steps, r.metric) for t, r in whole.records.items()
    }
    best = read_sweep(killed).best()
    assert best is not None
    of_best = suggested_plan(nasty_store.path, killed, data, 8).downstream
    assert of_best is not None
    checkpoint = killed / "trials" / best.id / "model"
    backbone = from_pretrained(checkpoint).backbone
    for task in of_best.tasks:
        job = FinetuneJob(
            data=str(data),
            store_path=nasty_store.path,
            task=task,
            arm="frozen",
            regime="rolling",
            config=as_deep_as(of_best.finetuning, backbone),
            checkpoint=str(checkpoint),
            backbone=backbone,
        )
        assert run_job(job).val == best.results[-1][f"downstream/{task}"]
    text = markdown(read_sweep(killed), best)
    assert "| rank | trials | setting | objective | team-wins | team-points | status | steps |" in text
    commands = text.split("```\n")[1].splitlines()
    assert [shlex.split(command)[1] for command in commands] == ["pretrain", "finetune", "finetune"]
    assert all("--checkpoint" in command and not command.endswith(".") for command in commands[1:])
    assert "rank" in text and "ranks after them whatever it measured" in text


def _until(driver: psutil.Popen, plan: SweepPlan, reached: Callable[[Ledger], bool]) -> None:
    """Waits until the ledger says so, and leaves the driver stopped where it does: else it would write on until it is killed."""
    end = time.monotonic() + 300
    driver.resume()
    while time.monotonic() < end:
        assert driver.poll() is None, "the sweep ended first"
        driver.suspend()
        if reached(Ledger(plan.folder / "events.jsonl", plan.configs)):
            return
        driver.resume()
        time.sleep(0.1)
    raise TimeoutError("the sweep did not get there")


def _lives(process: psutil.Process) -> bool:
    """Returns whether a process lives; a zombie, which stays where nobody waits for it, does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _runs_with_steps(ledger: Ledger) -> list[str]:
    return [t for t, record in ledger.records.items() if record.status == "running" and record.steps]
