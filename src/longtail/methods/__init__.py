"""Published methods, one file each: a function from a protocol to a recipe."""

from longtail.methods.names import METHODS, recipe
from longtail.methods.protocols import PROTOCOLS, Protocol, protocol_for

__all__ = ["METHODS", "PROTOCOLS", "Protocol", "protocol_for", "recipe"]
