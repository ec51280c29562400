//! The pure steps of admission (promise A1 to A6). No runtime, no sockets, no clock.
