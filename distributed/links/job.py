"""A fine-tuning run of a link task in this process: options that do not apply are refused, progress is told, the model and its files are written."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from distributed.finetuning.interruption import interruptible
from distributed.runs.finetuning_journal import FinetuningJournal
from distributed.runs.folder import write_json
from distributed.runs.journal import Journal
from distributed.runs.watch_finetuning import watched_finetuning
from rdl_core.config import Arm, BackboneConfig, FinetuningConfig, LinkConfig, Regime
from rdl_core.database.link_tasks import load_link_task
from rdl_core.finetuning import Callbacks
from rdl_core.links.finetuning import LinkFinetuning
from rdl_core.links.model import pretrained_matrix
from rdl_core.links.model_files import save_link_model
from rdl_core.links.scoring import METRIC, LinkResult
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.model.fitting import new_encoder

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

    from rdl_core.graph.store import Store


@dataclass(frozen=True, kw_only=True)
class LinkJob:
    """A fine-tuning run of one arm on a link task.

    Args:
        task: Name of the task.
        arm, regime, config, link_config: Settings of the run.
        checkpoint: Pretrained model; None for "scratch".
        backbone: Backbone of "scratch"; the other arms take the checkpoint's.
        folder: Where journal and result are written; the model into "model" below it, predictions beside that.
    """

    task: str
    arm: Arm
    regime: Regime
    config: FinetuningConfig
    link_config: LinkConfig
    checkpoint: Path | None
    backbone: BackboneConfig
    folder: Path

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return self.folder / "model"


def run_link_job(job: LinkJob, dataset: RelBenchDataset, store: Store) -> LinkResult:
    """Runs a job, unless its folder holds the result of one that an earlier call finished; says every 30 s how far it is.

    Raises:
        KeyboardInterrupt: Ctrl-C. The same command begins this run again.
    """
    path = job.folder / "network.json"
    if path.exists():
        return LinkResult(**json.loads(path.read_text()))
    journal = FinetuningJournal(job.folder, METRIC, [])
    name = f"{job.task} {job.arm} seed {job.config.seed}"
    with interruptible(job.folder), watched_finetuning({name: Journal(job.folder)}):
        run = make_link_finetuning(job, dataset, store)
        result = run.run(Callbacks(on_phase=journal.phase, on_step=journal.step, on_validation=journal.validation))
        save_link_model(job.model, run, result)
    write_json(path, dataclasses.asdict(result))
    return result


def make_link_finetuning(job: LinkJob, dataset: RelBenchDataset, store: Store) -> LinkFinetuning:
    """Returns the run, ready to go.

    Raises:
        DatabaseError: The task's labels break their contract.
        InputError: No table joins the two tables of the task.
        ValueError: The checkpoint's schema is not the store's, or there is nothing to learn from.
    """
    torch.set_num_threads(1)  # a figure must not depend on a machine's cores
    task = load_link_task(dataset, job.task)
    torch.manual_seed(job.config.seed)
    matrix = None
    if job.checkpoint is None:
        encoder = new_encoder(store, job.backbone)
    else:
        checkpoint = from_pretrained(job.checkpoint, kind="pretrained")
        checkpoint.require_same_schema(store)
        encoder = checkpoint.encoder()
        matrix = pretrained_matrix(checkpoint, task.src_entity_table, task.dst_entity_table)
    torch.manual_seed(job.config.seed)  # what is fresh starts alike in every arm
    return LinkFinetuning(store, task, encoder, job.arm, job.regime, job.config, job.link_config, matrix=matrix)
