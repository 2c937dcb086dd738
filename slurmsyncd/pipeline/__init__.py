"""The loops: collect (source → planner → store), deliver (store → sink), audit and node state reports."""
