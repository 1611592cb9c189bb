"""The published numbers, each a command."""
