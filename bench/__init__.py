"""What the launcher costs, measured beside what it cannot avoid and beside its peers, all in one run."""
