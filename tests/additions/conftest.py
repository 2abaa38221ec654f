"""Scenarios run on a patched copy of the tree, where what they are about exists."""

collect_ignore_glob = ["*/scenario.py"]
