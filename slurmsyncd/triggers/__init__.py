"""Triggers: notifications from hooks, over sockets and the spool directory."""
