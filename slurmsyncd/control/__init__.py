"""What operators ask and decide: answered by the running daemon, or out of the store if none runs."""
