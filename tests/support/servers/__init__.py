"""Servers for the tests, each on the loopback interface and a port of its own."""
