"""The passes of deduplication over all shards: sign, bucket, connect, regroup, resolve, decide."""
