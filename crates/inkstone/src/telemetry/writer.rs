//! Writes lines on a thread of its own, so that whoever logs never waits.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. At some 300 bytes a line this is 2 MB at the worst.
const QUEUE_LINES: usize = 8192;
/// How long the end of the program waits for a reader of the log that takes nothing.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    End(SyncSender<()>),
}

/// Where lines go in.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Line(_) => "Line",
            Self::End(_) => "End",
        })
    }
}

/// One line while it is written; on its way when dropped.
#[derive(Debug)]
pub(super) struct Line<'a> {
    sink: &'a Sink,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let line = Message::Line(std::mem::take(&mut self.bytes));
        if let Err(TrySendError::Full(_)) = self.sink.queue.try_send(line) {
            self.sink.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink {
    /// Waits for a while until all lines are written, and says whether they are. None is written after that.
    pub(super) fn finish(&self) -> bool {
        let (done, wait) = sync_channel(1);
        // A queue that is full of lines which nobody takes is not waited for: that would not help.
        self.queue.try_send(Message::End(done)).is_ok()
            && wait.recv_timeout(FLUSH_DEADLINE) != Err(RecvTimeoutError::Timeout)
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: self, bytes: Vec::with_capacity(256) }
    }
}

/// Writes what is still queued when it is dropped.
#[derive(Debug)]
pub struct Flush {
    sink: Sink,
    thread: Option<JoinHandle<()>>,
}

impl Flush {
    pub(super) fn sink(&self) -> Sink {
        self.sink.clone()
    }

    pub(super) fn dropped_lines(&self) -> u64 {
        self.sink.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.sink.finish()
            && let Some(thread) = self.thread.take()
        {
            // The thread has nothing left to do but to return.
            let _ended = thread.join();
        }
    }
}

/// Starts the thread.
pub(super) fn start(output: impl Write + Send + 'static) -> (Sink, Flush) {
    let (queue, lines) = sync_channel(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let sink = Sink { queue, dropped: Arc::clone(&dropped) };
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &lines, &dropped));
    (sink.clone(), Flush { sink, thread: thread.ok() })
}

fn write_all(mut output: impl Write, lines: &Receiver<Message>, dropped: &AtomicU64) {
    let mut told = 0;
    while let Ok(message) = lines.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::End(done) => {
                let _flushed = output.flush();
                // Whoever asked may have stopped waiting.
                let _told = done.try_send(());
                return;
            }
        };
        // Where the log itself cannot be written there is nobody left to tell.
        let _written = output.write_all(&line);
        let now = dropped.load(Ordering::Relaxed);
        if now > told {
            let lost = now - told;
            told = now;
            let _written =
                writeln!(output, "{{\"level\":\"WARN\",\"message\":\"log lines dropped\",\"lines\":{lost}}}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_is_written_before_the_end() {
        let output = Shared::default();
        let (sink, flush) = start(output.clone());
        for number in 0..1000 {
            writeln!(sink.make_writer(), "line {number}").unwrap();
        }
        drop(flush);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.ends_with("line 999\n"));
    }

    /// An output that takes nothing until it is told to.
    struct Stuck(std::sync::mpsc::Receiver<()>, Shared);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the sender is gone everything passes.
            let _open = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_costs_lines_and_not_time() {
        let output = Shared::default();
        let (release, gate) = channel();
        let (sink, flush) = start(Stuck(gate, output.clone()));
        for number in 0..QUEUE_LINES * 2 {
            writeln!(sink.make_writer(), "line {number}").unwrap();
        }
        assert!(flush.dropped_lines() >= (QUEUE_LINES - 1) as u64);
        drop(release);
        let lost = flush.dropped_lines();
        drop(sink);
        // Room for the end comes as soon as one line is out.
        while flush.sink.queue.try_send(Message::Line(Vec::new())).is_err() {
            std::thread::yield_now();
        }
        drop(flush);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains(&format!("\"lines\":{lost}")), "the loss is told");
    }
}
