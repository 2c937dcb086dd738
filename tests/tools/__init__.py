"""What tests of several parts need to know."""
