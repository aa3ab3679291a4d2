"""What this machine offers, looked up once. The only part of the launcher that reads the host to decide."""
