"""The command line.  One command a file; `main` holds the group, the global options and the exit codes."""
