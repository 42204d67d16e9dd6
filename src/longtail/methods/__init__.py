"""Published methods, one file each: a function from a protocol to a recipe."""

from longtail.methods.names import CATALOGUE, by_name
from longtail.methods.protocols import PROTOCOLS, Protocol, protocol_for

__all__ = ["CATALOGUE", "PROTOCOLS", "Protocol", "by_name", "protocol_for"]
