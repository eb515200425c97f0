"""The learner's files, their record, their progress, and git."""
