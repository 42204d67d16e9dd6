"""Records, their statistics, and the tables and pages that are made of them."""

from longtail.results.record import Loaded, Record, find, read, signature, write

__all__ = ["Loaded", "Record", "find", "read", "signature", "write"]
