"""Whether docs/reliability.md says what the tests hold."""
