"""The embedded backend, case by case of the contract."""
