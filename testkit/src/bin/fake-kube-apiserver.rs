//! The fake API server as a program, for tests in other languages.
//!
//! `fake-kube-apiserver [ADDRESS:PORT]` prints a kubeconfig, then takes commands from standard input, one a line, until
//! its end: `put OBJECT`, `remove PATH`, `allow TOKEN`, `revoke TOKEN`, `fault FAULT`, `clear-faults`,
//! `expire-watches`, `refuse`, `accept`, `get PATH`, `list PATH`. OBJECT and FAULT are JSON. Each is replied to with one
//! line: JSON, or `error: …`.

use std::error::Error;
use std::io::{self, BufRead, Write};

use meshwire_testkit::kubernetes::{ADMIN, Access, ApiServer, Options};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    if let Some(address) = std::env::args().nth(1) {
        options.listen = address.parse()?;
    }
    let server = ApiServer::with(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}---", server.kubeconfig("fake", "admin", ADMIN))?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        match run(&server, &line?) {
            Ok(reply) => writeln!(out, "{reply}")?,
            Err(error) => writeln!(out, "error: {error}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn run(server: &ApiServer, line: &str) -> Result<Value, Box<dyn Error>> {
    let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
    match command {
        "put" => return Ok(server.put(serde_json::from_str(argument)?)),
        "remove" => return Ok(json!(server.remove(argument))),
        "get" => return Ok(json!(server.get(argument))),
        "list" => return Ok(json!(server.list(argument))),
        "allow" => server.allow(argument, argument, Access::Everything),
        "revoke" => server.revoke(argument),
        "fault" => server.fault(serde_json::from_str(argument)?),
        "clear-faults" => server.clear_faults(),
        "expire-watches" => server.expire_watches(),
        "refuse" => server.refuse(),
        "accept" => server.accept(),
        other => return Err(format!("unknown command {other}").into()),
    }
    Ok(json!("ok"))
}
