//! The TOML tables of all three programs, and the one validator.
