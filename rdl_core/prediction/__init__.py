"""What comes out of a fine-tuned model: its heads, intervals around numbers and calibrated probabilities.

Owns the promise that a prediction is a function of the model, the row and the time alone.
"""
