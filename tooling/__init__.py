"""What `invoke` does around the launcher: installing, testing, linting. The launcher never imports it."""
