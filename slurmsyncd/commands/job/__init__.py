"""`slurmsyncd job`: everything known about one job."""
