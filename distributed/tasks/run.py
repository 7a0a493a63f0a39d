"""The work of `rdl task new` and `rdl task check` (command.py has their options)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distributed.commands.inputs import find_data
from distributed.console import say
from distributed.runs.folder import open_run as open_run_folder
from distributed.tasks.command import NewTask
from rdl_core.atomic_write import replace_file
from rdl_core.problems import InputError


def run_new_task(options: NewTask) -> dict[str, Any]:
    """Returns {"task", "task_type", "folder", "sql", "labels": {split: number}, "warnings"}; with --out {"task", "task_type", "file", "sql"}."""
    data = find_data(options.data)
    if not (Path(data) / "manifest.yaml").is_file():
        raise InputError(f"--data {data}: a task is added to a folder here; expected the path of an imported dataset")
    from distributed.import_report.labels import label_findings, label_lines, labels_of_tasks
    from distributed.tasks.new_task import Question, add_task, task_manifest
    from rdl_core.database import open_dataset

    dataset = open_dataset(data)
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(Question)}
    manifest = task_manifest(dataset, Question(**fields))
    run = open_run_folder(options.runs_dir, options.run_name, "task-new", manifest.name, {**fields, "data": data})
    say(f"{manifest.name}: {manifest.task_type}. {manifest.description}")
    about = {"task": manifest.name, "task_type": manifest.task_type, "sql": manifest.sql}
    if options.out is not None:
        with replace_file(options.out) as partial:
            manifest.save(partial)
        say(f"{options.out}: written; `rdl import --tasks {options.out.parent} ...` makes its labels")
        return run.finish({**about, "file": str(options.out)})
    num_labels = add_task(dataset, manifest, replaces=options.replace)
    labels = labels_of_tasks([manifest], Path(data))
    findings = [finding.line for finding in label_findings(labels)]
    for line in [*label_lines(labels), *findings]:
        say(line)
    folder = Path(data) / "tasks" / manifest.name
    say(f"task       {folder}\nnext       rdl finetune --data {data} --task {manifest.name} --arm scratch")
    return run.finish({**about, "folder": str(folder), "labels": num_labels, "warnings": findings})
