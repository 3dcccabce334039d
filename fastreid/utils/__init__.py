"""Helpers without knowledge of models or data: registry, files, distributed communication, events, checkpoints."""
