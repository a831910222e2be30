"""Builders of cases that several folders share: stages without work, committed artifacts, WARC bytes, and a web server
with scripted answers.

Fixtures are in the conftest of the folders that use them; here are the builders that they call.
"""
