"""What can be wrong with an index; all are user errors, told in one line."""


class IndexCorrupt(ValueError):
    """A file of the index is damaged or missing; the message names it."""


class IndexLocked(OSError):
    """Another process is writing to the index."""


class OtherModel(ValueError):
    """The query was made by another model, or with other input settings, than the vectors of the index."""


class VersionGone(ValueError):
    """An earlier version was asked for whose removed rows a compaction has dropped, or one that is still to come."""
