"""What a refactoring must not change: records of artifacts, streams and firmware, and how they are compared."""
