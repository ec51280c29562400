//! Debian's Chromium, without a screen.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{place::Place, process::Process};

/// Opens a page, and keeps it open until the value is dropped. What its script came to, it tells its server.
pub fn open(place: &Place, name: &str, url: &str) -> Result<Process> {
    let profile = place.folder(name)?;
    let log = place.path().join(format!("{name}.log"));
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        // The certificate is of the test's own authority, which the browser's store does not have.
        .args([
            "--ignore-certificate-errors",
            "--disable-background-networking",
            "--disable-extensions",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        // Without it, it ends once the page is loaded.
        .args(["--remote-debugging-port=0", url])
        .env("HOME", &profile)
        .stdin(Stdio::null());
    Process::start("chromium", command, &log).context("chromium is missing")
}
