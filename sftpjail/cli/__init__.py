"""The command line: one module for each group of commands, and the code that they share."""
