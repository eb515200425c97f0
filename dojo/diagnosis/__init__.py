"""Why an answer is wrong, in the learner's words."""
