//! Cutovers: one account moves, as one recorded operation (design section 7, promise F1 to F6).

pub mod operation;
