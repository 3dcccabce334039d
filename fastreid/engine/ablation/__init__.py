"""Ablations: a table of settings x seeds, each a training of its own, and what came out of them."""
