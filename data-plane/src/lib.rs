//! A node: terminates mail protocols, reads each login, and bridges the session to where the account lives.
