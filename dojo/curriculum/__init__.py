"""What is on disk: katas, solutions, stubs, patches."""
