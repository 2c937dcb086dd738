"""The loops: collect (source → plan → store), deliver (store → sink), and the node states beside them."""
