"""The console: read-only pages that say how the service is, and why."""
