//! Stripe's own libraries for Python and Node, asked to sign and to verify: an independent opinion on signatures.
//!
//! `tests/run` installs them and says where (`QUITTANCE_TEST_PYTHON`, `QUITTANCE_TEST_NODE_PATH`). Where one cannot be had,
//! [`Sdk::all`] says so and leaves it out.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    ffi::OsString,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// One of Stripe's libraries, ready to be asked.
#[derive(Clone, Debug)]
pub struct Sdk {
    /// `Python` or `Node`.
    pub name: &'static str,
    program: OsString,
    /// Runs what follows it.
    flag: &'static str,
    script: &'static str,
    /// `NODE_PATH`, of Node.
    node_path: Option<OsString>,
}

impl Sdk {
    /// Those that are there.
    pub fn all() -> Vec<Self> {
        let python = std::env::var_os("QUITTANCE_TEST_PYTHON").map(|program| Self {
            name: "Python",
            program,
            flag: "-c",
            script: include_str!("stripe.py"),
            node_path: None,
        });
        let node = std::env::var_os("QUITTANCE_TEST_NODE_PATH").map(|path| Self {
            name: "Node",
            program: "node".into(),
            flag: "-e",
            script: include_str!("stripe.cjs"),
            node_path: Some(path),
        });
        let mut found = Vec::new();
        for (name, sdk, probe) in [
            ("Python", python, "import stripe"),
            ("Node", node, "require('stripe')"),
        ] {
            match sdk {
                Some(sdk) if sdk.can(probe) => found.push(sdk),
                _ => eprintln!("skipped: Stripe's library for {name} is not there; tests/run installs it"),
            }
        }
        found
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([self.flag, script]);
        if let Some(path) = &self.node_path {
            command.env("NODE_PATH", path);
        }
        command
    }

    fn can(&self, probe: &str) -> bool {
        self.command(probe)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// A `Stripe-Signature` header for each of these bodies, made now.
    pub fn sign(&self, secret: &str, bodies: &[&str]) -> Vec<String> {
        let headers = self.ask(json!({ "do": "sign", "secret": secret, "items": bodies }));
        serde_json::from_value(headers).unwrap()
    }

    /// The event's id of each body whose header is genuine; nothing for the others.
    pub fn verify(&self, secret: &str, deliveries: &[(&str, &str)]) -> Vec<Option<String>> {
        let items: Vec<Value> = deliveries
            .iter()
            .map(|(body, header)| json!({ "body": body, "header": header }))
            .collect();
        let ids = self.ask(json!({ "do": "verify", "secret": secret, "items": items }));
        serde_json::from_value(ids).unwrap()
    }

    fn ask(&self, task: Value) -> Value {
        let mut child = self
            .command(self.script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Both scripts read everything before they write anything.
        let mut input = child.stdin.take().unwrap();
        input.write_all(task.to_string().as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "Stripe's library for {} failed",
            self.name
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
