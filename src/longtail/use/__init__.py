"""What one does with a finished run: predict."""

from longtail.use.predict import predict

__all__ = ["predict"]
