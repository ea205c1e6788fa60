"""The parts of the conformance suite of storage formats."""
