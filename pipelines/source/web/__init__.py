"""Web pages: WARC, Common Crawl, character sets, page signals, and text extraction."""
