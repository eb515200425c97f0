"""New lessons from upstream, under the code that the learner has written."""
