"""`slurmsyncd deadletters`: deliveries that were rejected."""
