"""Request and Host in, Plan out: pure data, and the pure functions that make it."""
