"""Learning from long-tailed data: losses, samplers, recipes and records that can be trusted."""

__version__ = "0.1.0"
