"""`slurmsyncd completion`: completion of words for bash and zsh."""
