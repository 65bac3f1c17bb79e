//! Starts what stands in for a server that cannot be installed: `tests/stand_ins.py`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A running stand-in.
pub(crate) struct StandIn {
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
}

impl StandIn {
    /// Starts the one of this name, with the Python that has what it needs.
    #[expect(clippy::disallowed_methods, reason = "where the tools are is said where the tests are started")]
    pub(crate) fn start(name: &str) -> Self {
        let python = std::env::var("INKSTONE_DOCUMENTS_PYTHON")
            .expect("INKSTONE_DOCUMENTS_PYTHON is set by crates/documents/test-all, which makes that Python");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_ins.py"))
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the stand-in said {line:?} instead of its port"));
        Self { child, port }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It ends by itself when its input does; this is quicker.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
