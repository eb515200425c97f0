"""One check of one answer: compare, deadline, guard, replay."""
