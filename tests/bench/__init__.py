"""Tests of jaxinfo.bench: values, never times."""
