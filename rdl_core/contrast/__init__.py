"""The three contrastive levels, their negatives, and measures of collapse."""
