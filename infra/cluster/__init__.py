"""Ray clusters: connection, jobs, uploads, and capacity."""
