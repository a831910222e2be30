"""WARC: members, records, HTTP responses, and files of them as an input."""
