"""The future level of pretraining: fresh (row, time) questions, their answers up to the cutoff, and the loss that they make."""

from rdl_core.future.answers import FutureAnswers, Target
from rdl_core.future.batch import FutureBatch, FutureSource
from rdl_core.future.level import FutureLevel
from rdl_core.future.questions import Questions, QuestionSource

__all__ = ["FutureAnswers", "FutureBatch", "FutureLevel", "FutureSource", "QuestionSource", "Questions", "Target"]
