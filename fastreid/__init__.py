"""fastreid: a re-identification toolkit for patent drawings."""

__version__ = "2.0.0"
