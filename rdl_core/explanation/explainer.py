"""A predictor that explains itself: predictions with each group of inputs left out.

    contribution of a group = prediction - prediction with the group at its neutral value (neutral.py)

which is what the group adds, given all others: above 0 where it raises the prediction. Groups overlap and share what they tell together, so that
contributions do not add up to the distance from the neutral prediction, at which all inputs are neutral.

Promises: the prediction is that of the predictor, its head, calibration and all; a contribution is a function of model, data strictly before the
time, entity and time, the same alone, in a batch and in any order (1e-6). Of several classes, the probability of the most likely one is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from rdl_core.explanation.groups import LEVELS, Group, Part, ReadInputs, part_of
from rdl_core.explanation.left_out import LeavingOut, Rows, Values
from rdl_core.explanation.single_inputs import SingleInputs
from rdl_core.prediction import Predictor
from rdl_core.prediction.times import Times

Advance = Callable[[int], None]
ABOUT_GROUP = ("level", "name", "table", "key", "column")
OWN_NAMES = {
    *ABOUT_GROUP,
    *("question", "time", "class", "contribution", "prediction", "neutral_prediction", "input", "value"),
}
"""Columns of an explanation besides the key's."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Predictions of questions, whole and with inputs left out; of several classes each has one axis more, [..., classes].

    Args:
        prediction: float64 [questions].
        neutral: float64 [questions], with all inputs at their neutral values.
        without: float64 [groups, questions].
    """

    prediction: Values
    neutral: Values
    without: Values

    def of_likeliest_class(self) -> LeftOut:
        """Returns the same of the probability of each question's most likely class; itself where there are no classes."""
        if self.prediction.ndim == 1:
            return self
        likeliest = self.prediction.argmax(axis=1)[:, None]
        return LeftOut(
            prediction=np.take_along_axis(self.prediction, likeliest, axis=1)[:, 0],
            neutral=np.take_along_axis(self.neutral, likeliest, axis=1)[:, 0],
            without=np.take_along_axis(self.without, likeliest[None], axis=2)[:, :, 0],
        )

    @property
    def contributions(self) -> Values:
        """The part that each group adds to each prediction: float64 [groups, questions]."""
        return self.prediction - self.without


class Explainer:
    """Explains the predictions of a predictor, by its head.

    Args:
        predictor: An open predictor.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        read = ReadInputs(predictor)
        self.groups: tuple[Group, ...] = tuple(read.groups())
        """The groups that are left out, level by level."""
        self._everything = read.everything()
        self._leaving_out = LeavingOut(predictor, read)
        self._single = SingleInputs(self._leaving_out, read)
        of_part: dict[Part | None, list[int]] = {}
        for number, source in enumerate(self._single.sources):
            of_part.setdefault(part_of(source), []).append(number)
        self._inputs_of = [np.array(of_part.get(group.part, ()), np.int64) for group in self.groups]

    @property
    def key_names(self) -> list[str]:
        """The key's columns as `explain` names them: as the source does, but `table.name` for a name that it has for something else."""
        keys = self.predictor.keys
        return [f"{keys.table}.{name}" if name in OWN_NAMES else name for name in keys.names]

    def explain(
        self, keys: Iterable[Any] | pa.Table, time: Times = None, *, advance: Advance = lambda rows: None
    ) -> pd.DataFrame:
        """Explains the predictions for entities at a time.

        Args:
            keys: Of the entity table, as `Predictor.predict` takes them.
            time: One time, or one per key; None: just after the last row.
            advance: Is told the number of questions that are done, now and then.

        Returns:
            One row per key, level and group, in the order of the keys; of each, level by level, the largest contribution first, whatever its sign.
            Columns: "question" (the key's place), the key under its own name (`key_names`), "time", "level" ("table", "key" or "column"), "name" in
            words, "table", "key" and "column" (missing where a group has none), "contribution", "prediction", "neutral_prediction", "input" and
            "value" (of a column: the name of the generated column that alone adds most, and its value in the source's own units; missing where
            none adds anything). Of several classes "class" is the most likely one, whose probability is explained.

        Raises:
            InputError: As `Predictor.predict`.
        """
        rows, time_s = self.predictor.questions(keys, time)
        whole = self.leave_out(rows, time_s)
        left_out, table = whole.of_likeliest_class(), self.predictor.table(rows, time_s, whole.prediction)
        described = table.select([*self.predictor.keys.names, "time"]).rename_columns([*self.key_names, "time"])
        if left_out is not whole:
            described = described.append_column("class", table["prediction"])
        frames = []
        for number, about in enumerate(described.to_pylist()):
            contributions = left_out.contributions[:, number]
            telling = self._telling(int(rows[number]), int(time_s[number]), whole.prediction[number])
            order = sorted(
                range(len(self.groups)), key=lambda g: (LEVELS.index(self.groups[g].level), -abs(contributions[g]), g)
            )
            about = {"question": number, **about}
            frames += [about | self._described(g, contributions[g], left_out, number) | telling[g] for g in order]
            advance(1)
        return pd.DataFrame(frames)

    def leave_out(
        self, rows: Rows, time_s: Rows, before_s: Rows | None = None, *, advance: Advance = lambda rows: None
    ) -> LeftOut:
        """Predicts for rows of the entity table with each of `groups` left out; arguments as of `Predictor.predict_rows`."""
        before_s = time_s if before_s is None else before_s
        size, parts = self.predictor.config.batch_size, []
        for begin in range(0, len(rows), size):
            part = slice(begin, begin + size)
            asked = self._leaving_out.ask(rows[part], time_s[part], before_s[part])
            whole, found = self._leaving_out.predict(asked), []
            for inputs in (self._everything, *(group.inputs for group in self.groups)):
                changed = self._leaving_out.without(asked, inputs)
                found.append(whole if changed is asked else self._leaving_out.predict(changed))
            parts.append((whole, found[0], np.stack(found[1:])))
            advance(len(rows[part]))
        prediction, neutral, without = zip(*parts, strict=True)
        return LeftOut(
            prediction=np.concatenate(prediction),
            neutral=np.concatenate(neutral),
            without=np.concatenate(without, axis=1),
        )

    def _described(self, number: int, contribution: float, left_out: LeftOut, question: int) -> dict[str, Any]:
        group = self.groups[number]
        return {
            **{name: getattr(group, name) for name in ABOUT_GROUP},
            "contribution": float(contribution),
            "prediction": float(left_out.prediction[question]),
            "neutral_prediction": float(left_out.neutral[question]),
        }

    def _telling(self, row: int, time_s: int, prediction: Values) -> list[dict[str, Any]]:
        """Returns {"input", "value"} for each group: the generated column of a column that alone adds most."""
        one_by_one = self._single(row, time_s, prediction)
        added = prediction - one_by_one.without
        if added.ndim == 2:
            added = added[:, prediction.argmax()]
        found = []
        for inputs in self._inputs_of:
            best = inputs[np.abs(added[inputs]).argmax()] if len(inputs) and added[inputs].any() else None
            value = np.nan if best is None else one_by_one.values[best]
            name = None if best is None else self._single.names[best]
            found.append({"input": name, "value": None if np.isnan(value) else float(value)})
        return found
