"""The launcher with one thing spoiled, to see that the conformance suite notices. Only tests use it."""
