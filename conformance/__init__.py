"""The suite that boots each backend by its public command line and proves each cell of the table."""
