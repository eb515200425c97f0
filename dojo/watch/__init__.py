"""Judges at each save, from a process that has imported everything already."""
