"""A release inside other people's frameworks, one file each. Not here: signals and weights."""
