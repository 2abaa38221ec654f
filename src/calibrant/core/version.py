"""The release, written into artifacts as the tool that made them; equal to pyproject.toml's (a test compares)."""

VERSION = "0.1.0"
