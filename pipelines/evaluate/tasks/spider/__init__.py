"""Spider: text to SQL, judged by execution."""
