//! nginx, with a configuration that the test writes.

use std::path::Path;

use rustix::process::Signal;

use super::{Home, Plan, Process, Ready, programs};

/// A running nginx.
pub struct Nginx {
    process: Process,
}

impl Nginx {
    /// Starts it on `sockets`. `configuration` gets the directory in which they are to be, in which
    /// everything else has to be too, and gives the text of `nginx.conf`; it has to say
    /// `daemon off; master_process off;`.
    pub fn on_sockets(
        sockets: &'static [&'static str],
        configuration: impl Fn(&Path) -> String + Send + Sync + 'static,
    ) -> Self {
        let plan = Plan {
            name: "nginx",
            program: programs::program("nginx", "nginx"),
            ports: 0,
            arguments: Box::new(move |home, _| {
                let file = home.write("nginx.conf", &configuration(home.path()));
                ["-e", "stderr", "-c"].map(str::to_owned).into_iter().chain([file.display().to_string()]).collect()
            }),
            ready: Ready::ListensAt(sockets),
            stop: Signal::TERM,
        };
        Self { process: Process::start(plan, Home::new("nginx")) }
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
