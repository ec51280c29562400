//! What the tests of HTTP run against, and with: a webmail on aiohttp, nginx, a backend that keeps every byte, curl,
//! Chromium, clients in Python, and a fleet in front of two webmails.

pub mod browser;
pub mod curl;
pub mod fleet;
pub mod nginx;
pub mod python;
pub mod recorder;
pub mod web;
