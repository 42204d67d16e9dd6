"""The Papers with Code archive: read as a stream, kept, turned into claims and pages, and written back."""
