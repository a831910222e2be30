"""Ray clusters: connection, jobs and uploads."""
