//! HAProxy, with a configuration that the test writes.

use std::path::Path;

use rustix::process::Signal;

use super::{Home, Plan, Process, Ready, programs};

/// A running HAProxy.
pub struct HaProxy {
    process: Process,
}

impl HaProxy {
    /// Starts it. `configuration` gets `ports` free ports and gives the text of `haproxy.cfg`,
    /// which has to listen on each of them at 127.0.0.1.
    pub fn start(ports: usize, configuration: impl Fn(&[u16]) -> String + Send + Sync + 'static) -> Self {
        Self::with(ports, Ready::Listens, move |_, ports| configuration(ports))
    }

    /// Starts it on `sockets`. `configuration` gets the directory in which they are to be, and gives
    /// the text of `haproxy.cfg`.
    pub fn on_sockets(
        sockets: &'static [&'static str],
        configuration: impl Fn(&Path) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::with(0, Ready::ListensAt(sockets), move |home, _| configuration(home))
    }

    /// As [`HaProxy::start`]; `configuration` gets a directory as well, in which there may be more sockets.
    pub fn start_in_home(
        ports: usize,
        configuration: impl Fn(&Path, &[u16]) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::with(ports, Ready::Listens, configuration)
    }

    fn with(
        ports: usize,
        ready: Ready,
        configuration: impl Fn(&Path, &[u16]) -> String + Send + Sync + 'static,
    ) -> Self {
        let plan = Plan {
            name: "haproxy",
            program: programs::program("haproxy", "haproxy"),
            ports,
            arguments: Box::new(move |home, ports| {
                let file = home.write("haproxy.cfg", &configuration(home.path(), ports));
                vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()]
            }),
            ready,
            stop: Signal::USR1,
        };
        Self { process: Process::start(plan, Home::new("haproxy")) }
    }

    /// Its process, with which faults are injected.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The ports it was started with.
    pub fn ports(&self) -> &[u16] {
        self.process.ports()
    }
}
