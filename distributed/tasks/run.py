"""The work of `rdl task new` and `rdl task check` (command.py has their options)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from distributed.commands.inputs import find_data, open_data, open_run, open_store
from distributed.console import say
from distributed.runs.folder import open_run as open_run_folder
from distributed.tasks.command import CheckTask, NewTask, Question
from rdl_core.atomic_write import replace_file
from rdl_core.problems import InputError


def run_new_task(options: NewTask) -> dict[str, Any]:
    """Returns {"task", "task_type", "folder", "sql", "labels": {split: number}, "warnings"}; with --out {"task", "task_type", "file", "sql"}."""
    data = find_data(options.data)
    if not (Path(data) / "manifest.yaml").is_file():
        raise InputError(f"--data {data}: a task is added to a folder here; expected the path of an imported dataset")
    from distributed.import_report.labels import label_findings, label_lines, labels_of_tasks
    from distributed.tasks.new_task import add_task, task_manifest
    from rdl_core.database import open_dataset

    dataset = open_dataset(data)
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(Question)}
    manifest = task_manifest(dataset, options)
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
    say(f"task       {folder}\nnext       rdl task check --data {data} --task {manifest.name}")
    return run.finish({**about, "folder": str(folder), "labels": num_labels, "warnings": findings})


def run_check_task(options: CheckTask) -> dict[str, Any]:
    """Returns {"task", "task_type", "seed_times", "splits", "baselines", "about", "leaks", "warnings", "picture", "report"}."""
    _, dataset = open_data(options)
    from distributed.tasks.check import check_task
    from distributed.tasks.check_picture import draw_check
    from distributed.tasks.lightgbm_baseline import lightgbm_figures
    from rdl_core.database import load_task
    from rdl_core.tasks.inputs import refuse_several_classes

    task = load_task(dataset, options.task)
    if options.baseline:
        refuse_several_classes(task)
    run = open_run(options, "task-check", dataset, {"task": options.task, "baseline": options.baseline})
    found = check_task(dataset, task)
    if options.baseline:
        found = found.with_baseline("lightgbm", *lightgbm_figures(open_store(options, dataset), task))
    for line in found.lines:
        say(line)
    picture, report = draw_check(found, run.folder / "check.png"), run.folder / "report.txt"
    with replace_file(report) as partial:
        partial.write_text("\n".join(found.lines) + "\n", encoding="utf-8")
    say(
        f"picture    {picture}\nreport     {report}\nnext       rdl finetune --data {options.data} --task {options.task} --arm scratch"
    )
    return run.finish({**found.as_json(), "picture": str(picture), "report": str(report)})
