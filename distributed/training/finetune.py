"""Fine-tuning runs: one in this process or data parallel over workers, or many side by side as Ray tasks."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from distributed.cluster.ray_internals import fit
from distributed.cluster.session import start_ray
from distributed.runs.finetuning_journal import FinetuningJournal
from distributed.runs.journal import Journal
from distributed.runs.watch_finetuning import watched_finetuning
from distributed.training.communicator import TorchCommunicator
from distributed.training.trainer import BACKEND, MAX_FAILURES
from rdl_core.atomic_write import replace_file
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import Arm, BackboneConfig, FinetuningConfig, Regime, check_arm
from rdl_core.database import load_task, open_dataset
from rdl_core.database.label_checks import require_measurable_labels
from rdl_core.finetuning import StateFile
from rdl_core.graph.store import open_store
from rdl_core.heads import Fold
from rdl_core.model.checkpoint import from_pretrained, save_pretrained
from rdl_core.model.fitting import new_encoder
from rdl_core.place import Place
from rdl_core.tasks.finetuning import Finetuning
from rdl_core.tasks.finetuning_result import FinetuningResult, predictions_path, save_finetuned
from rdl_core.tasks.prediction_file import FILE_NAME


@dataclass(frozen=True, kw_only=True)
class FinetuneJob:
    """A fine-tuning run of one arm.

    Args:
        data: Dataset folder, remote folder or hub name.
        store_path: The dataset's store.
        task: Name of the task.
        arm, regime, config: Settings of the run.
        checkpoint: Pretrained model; None for "scratch".
        backbone: Backbone of "scratch"; the other arms take the checkpoint's.
        out: Folder that the fine-tuned model is written to, the predictions beside it, or None.
        folds: Windows inside train whose validation rows are predicted, too, by networks trained on what came before.
        folder: Folder, on storage that all workers see, of its journal and of its state, from which it goes on after a crash; None: it tells nothing
            and begins anew.
        afterwards: What is done when the job is over, for people.
    """

    data: Place
    store_path: Place
    task: str
    arm: Arm
    regime: Regime
    config: FinetuningConfig
    checkpoint: str | None
    backbone: BackboneConfig
    out: str | None = None
    folds: tuple[Fold, ...] = ()
    folder: str | None = None
    afterwards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_arm(self.arm, self.checkpoint)

    @property
    def name(self) -> str:
        """The job's name on the screen."""
        return f"{self.task} {self.arm} seed {self.config.seed}"

    def told(self, metric: str, rank: int = 0) -> dict[str, Any]:
        """Returns the callbacks and the state file of the job, as `Finetuning.run` takes them."""
        if self.folder is None:
            return {}
        found: dict[str, Any] = {"states": StateFile(folder=Path(self.folder))}
        if rank == 0:
            again = [name for name, is_done in (("out-of-fold", self.folds), ("refit", self.config.refit)) if is_done]
            journal = FinetuningJournal(Path(self.folder), metric, [*again, *self.afterwards])
            found |= {
                "on_phase": journal.phase,
                "on_step": journal.step,
                "on_validation": journal.validation,
            }
        return found


def make_finetuning(
    job: FinetuneJob, communicator: Communicator | None = None, device: torch.device | None = None
) -> Finetuning:
    """Returns the run, ready to go.

    Raises:
        DatabaseError: The task's labels cannot be learned from, or not be measured by.
        ValueError: The checkpoint's schema is not the store's.
    """
    store = open_store(job.store_path)
    task = load_task(open_dataset(job.data), job.task)
    require_measurable_labels(task)
    torch.manual_seed(job.config.seed)
    if job.checkpoint is None:
        encoder = new_encoder(store, job.backbone)
    else:
        checkpoint = from_pretrained(job.checkpoint, kind="pretrained")
        checkpoint.require_same_schema(store)
        encoder = checkpoint.encoder()
    torch.manual_seed(job.config.seed)  # the head starts alike in every arm
    return Finetuning(store, task, encoder, job.arm, job.regime, job.config, communicator=communicator, device=device)


def run_job(job: FinetuneJob) -> FinetuningResult:
    """Runs a job in this process."""
    torch.set_num_threads(1)  # as in every worker: a figure must not depend on a machine's cores
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = make_finetuning(job, device=device)
    result = run.run(folds=job.folds, **job.told(run.metric))
    if job.out is not None:
        save_finetuned(Path(job.out), run, result)
    return result


def run_here(job: FinetuneJob) -> FinetuningResult:
    """Runs a job in this process and shows how far it is."""
    with watched_finetuning(_journals([job])):
        return run_job(job)


def run_data_parallel(job: FinetuneJob, run_dir: Path, workers: int) -> FinetuningResult:
    """Runs a job over several workers: a step's seeds are shared among them, gradients are averaged by DDP."""
    use_gpu = start_ray(workers, samplers=0)
    job = _with_absolute_paths(job)
    trainer = ray.train.torch.TorchTrainer(
        _finetune_worker,  # type: ignore[arg-type]
        train_loop_config=job,  # type: ignore[arg-type]
        torch_config=ray.train.torch.TorchConfig(backend=BACKEND[use_gpu]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": 1} | ({"GPU": 1} if use_gpu else {})
        ),
        run_config=ray.train.RunConfig(  # type: ignore[call-arg]
            name="train",
            storage_path=str(run_dir.resolve()),
            failure_config=ray.train.FailureConfig(  # type: ignore[call-arg]
                max_failures=MAX_FAILURES, controller_failure_limit=MAX_FAILURES
            ),
        ),
    )
    with watched_finetuning(_journals([job])):
        result = fit(trainer)
    assert result.metrics is not None and result.checkpoint is not None
    if job.out is not None:
        with result.checkpoint.as_directory() as folder:
            save_pretrained(Path(job.out), from_pretrained(Path(folder) / "model"))
            with replace_file(predictions_path(job.out)) as partial:
                shutil.copyfile(Path(folder) / FILE_NAME, partial)
    return FinetuningResult(**result.metrics["result"])


def run_side_by_side(jobs: Sequence[FinetuneJob]) -> Iterator[tuple[int, FinetuningResult]]:
    """Runs jobs as Ray tasks, as many at a time as this machine has cores; yields (number of the job, result) as they finish. Ray must be up.

    Each says every 30 s how far it is; a job without a folder has one for as long as this takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        jobs = [dataclasses.replace(job, folder=job.folder or f"{folder}/{number}") for number, job in enumerate(jobs)]
        waiting = list(enumerate(jobs))[::-1]
        pending: dict[Any, int] = {}
        with watched_finetuning(_journals(jobs), has_bar=False):
            while waiting or pending:
                while waiting and len(pending) < (os.cpu_count() or 1):
                    number, job = waiting.pop()
                    pending[_finetune_task.remote(_with_absolute_paths(job))] = number
                (done,), _ = ray.wait(list(pending), num_returns=1)
                yield pending.pop(done), ray.get(done)


def _journals(jobs: Sequence[FinetuneJob]) -> dict[str, Journal]:
    """Returns the journals of jobs by what they are called; of two of one name the second has its number."""
    found: dict[str, Journal] = {}
    for number, job in enumerate(jobs):
        if job.folder is not None:
            found[job.name if job.name not in found else f"{job.name} ({number})"] = Journal(Path(job.folder))
    return found


def absolute(place: Place) -> Place:
    """Returns a path for workers, which start in folders of their own; a hub name or remote folder stays as it is."""
    return str(Path(place).resolve()) if isinstance(place, str) and Path(place).exists() else place


def _with_absolute_paths(job: FinetuneJob) -> FinetuneJob:
    checkpoint = None if job.checkpoint is None else str(absolute(job.checkpoint))
    return dataclasses.replace(
        job,
        data=absolute(job.data),
        store_path=absolute(job.store_path),
        checkpoint=checkpoint,
        folder=None if job.folder is None else str(Path(job.folder).resolve()),
    )


@ray.remote(num_cpus=1, max_retries=2)
def _finetune_task(job: FinetuneJob) -> FinetuningResult:
    return run_job(job)


def _finetune_worker(job: FinetuneJob) -> None:
    torch.set_num_threads(1)
    context = ray.train.get_context()
    communicator: Communicator = TorchCommunicator() if context.get_world_size() > 1 else SingleProcess()
    run = make_finetuning(job, communicator, ray.train.torch.get_device())
    result = run.run(
        folds=job.folds,
        **job.told(run.metric, context.get_world_rank()),
        wrap=lambda model: ray.train.torch.prepare_model(
            model, parallel_strategy_kwargs={"find_unused_parameters": True}
        ),
    )
    metrics: dict[str, Any] = {"result": dataclasses.asdict(result)}
    if context.get_world_rank() > 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_finetuned(Path(folder) / "model", run, result)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
