"""What checks are made of. Nothing here looks into the launcher: only launcher.spec and its command line."""
