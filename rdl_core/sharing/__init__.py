"""A model folder for other people: its card, and which values of the data it holds."""
