"""The engine of ML Dojo: a pytest plugin that judges katas, and the `dojo` command."""
