"""An evening of two: turns, commits, and the lights at its end."""
