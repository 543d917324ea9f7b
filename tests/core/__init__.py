"""Tests of the ground floor, written from the contract: mpmath, a table of cases, one file per transform."""
