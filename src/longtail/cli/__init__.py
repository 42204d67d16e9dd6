"""The command line: parses, calls one function, prints.

Heavy libraries are imported inside the commands, so that ``longtail --help`` answers at once.
"""

from longtail.cli.app import main

__all__ = ["main"]
