"""The output of a fine-tuned model: predictions for keys at any time, without labels, heads, intervals, calibrated probabilities.

Owns the promise that a prediction is a function of the model, the row and the time alone: it sees rows strictly before the time, and is the same
alone, in a batch, in any order and in any process.
"""

from rdl_core.prediction.predictor import Predictor

__all__ = ["Predictor"]
