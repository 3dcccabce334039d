"""Data: records, data sets, samplers, transforms, loaders and the feature file."""
