"""The tests of jaxinfo."""
