"""What tests of several folders build their cases from: stages without work, committed artifacts, WARC bytes, and a web
server whose answers a test scripts.

Fixtures stand in the conftest of the folders that use them; here are the builders that they call.
"""
