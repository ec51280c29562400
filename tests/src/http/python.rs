//! Clients in Python, on the libraries that people use: websockets, jmapc, caldav, h2. One script each in `tests/clients/`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

fn command(script: &str, argument: &Value) -> Result<Command> {
    let mut command = Command::new(tools::path("web/bin/python")?);
    command
        .arg(format!("{}/clients/{script}", env!("CARGO_MANIFEST_DIR")))
        .arg(argument.to_string());
    Ok(command)
}

/// Runs a script to its end; its last line is JSON.
pub fn run(script: &str, argument: &Value) -> Result<Value> {
    let output = command(script, argument)?.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "{script} {argument}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let last = text.lines().last().context("it said nothing")?;
    Ok(serde_json::from_str(last)?)
}

/// One that runs beside the test: it says a line of JSON for each thing that happens, and ends when its input does.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(script: &str, argument: &Value) -> Result<Self> {
        let mut child = command(script, argument)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, input, output })
    }

    /// The next thing that happened; Null at its end.
    pub fn said(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    /// Lets it end, and gives what it still had to say.
    pub fn finish(&mut self) -> Result<Vec<Value>> {
        drop(self.input.take());
        let mut all = Vec::new();
        loop {
            match self.said()? {
                Value::Null => break,
                said => all.push(said),
            }
        }
        self.child.wait()?;
        Ok(all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
