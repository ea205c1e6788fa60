"""Adapters to other libraries, one module each, which import their library when they are imported themselves."""
