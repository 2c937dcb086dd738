"""A small HTTP server on h11, for the embedded backend and the control socket."""
