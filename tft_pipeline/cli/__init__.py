"""What people type: one module a group of commands. Thin: each command calls the code that the assets call."""
