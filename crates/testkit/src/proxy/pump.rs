//! One connection: two pumps, one each way, which do as the fault says.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Fault, Shared, Toward};

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long a piece takes when the line is slow.
const PIECE: Duration = Duration::from_millis(20);

/// The connection is over, without ceremony.
struct Cut;

type Plan = watch::Receiver<Fault>;

/// Connects to the server and forwards until both ways have ended or one is cut.
pub(super) async fn serve(mut client: TcpStream, mut plan: Plan, shared: &Shared) {
    let counters = &shared.counters;
    let Ok(mut server) = connect(&mut plan, shared).await else {
        counters.reset.fetch_add(1, Ordering::SeqCst);
        let _ = client.set_zero_linger();
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = Pump::new(from_client, to_server, Toward::Server, plan.clone(), &counters.to_server);
        let down = Pump::new(from_server, to_client, Toward::Client, plan, &counters.to_client);
        tokio::try_join!(up.run(), down.run())
    };
    if ended.is_err() {
        counters.reset.fetch_add(1, Ordering::SeqCst);
        // Dropped with nothing left to wait for, they send RST.
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Connects to the server, or cuts, or hangs: as the fault says.
///
/// It connects once, however often the fault changes meanwhile: the server may have accepted already.
async fn connect(plan: &mut Plan, shared: &Shared) -> Result<TcpStream, Cut> {
    let mut connecting = pin!(async { TcpStream::connect(shared.upstream()).await });
    loop {
        let hangs = match *plan.borrow_and_update() {
            Fault::Refuse | Fault::Reset => return Err(Cut),
            Fault::Hang(toward) => toward.includes(Toward::Server),
            _ => false,
        };
        tokio::select! {
            biased;
            changed = plan.changed() => changed.map_err(|_| Cut)?,
            connected = &mut connecting, if !hangs => {
                return connected.map_err(|_| {
                    shared.counters.unreachable.fetch_add(1, Ordering::SeqCst);
                    Cut
                });
            }
        }
    }
}

/// One way of a connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    way: Toward,
    plan: Plan,
    /// What holds at this moment.
    fault: Fault,
    counter: &'a AtomicU64,
    /// What was read and has not been forwarded yet.
    pending: Vec<u8>,
    /// When the next piece of it may go.
    due: Instant,
    /// Bytes forwarded since the fault was set.
    forwarded: u64,
    /// The sender has ended.
    ended: bool,
    /// FIN was sent on.
    finished: bool,
}

impl<'a> Pump<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, way: Toward, plan: Plan, counter: &'a AtomicU64) -> Self {
        let due = Instant::now();
        let (fault, pending) = (Fault::None, Vec::new());
        Self { from, to, way, plan, fault, counter, pending, due, forwarded: 0, ended: false, finished: false }
    }

    async fn run(mut self) -> Result<(), Cut> {
        loop {
            if self.ended && self.finished {
                return Ok(());
            }
            let fault = *self.plan.borrow_and_update();
            if fault != self.fault {
                (self.fault, self.forwarded) = (fault, 0);
            }
            match fault {
                Fault::Refuse | Fault::Reset => return Err(Cut),
                Fault::Finish(toward) if toward.includes(self.way) => {
                    self.finish().await?;
                    self.discard().await?;
                }
                _ if self.finished => self.discard().await?,
                Fault::Hang(toward) if toward.includes(self.way) => self.wait().await?,
                Fault::Swallow(toward) if toward.includes(self.way) => self.discard().await?,
                Fault::ResetAfter { toward, bytes } if toward.includes(self.way) => {
                    let left = bytes.saturating_sub(self.forwarded);
                    if left == 0 {
                        return Err(Cut);
                    }
                    self.forward(usize::try_from(left).unwrap_or(usize::MAX), Duration::ZERO).await?;
                }
                Fault::Delay(delay) => self.forward_later(delay).await?,
                Fault::Throttle { bytes_per_second } => {
                    let piece =
                        (u64::from(bytes_per_second) * u64::try_from(PIECE.as_millis()).unwrap_or(1) / 1000).max(1);
                    #[expect(clippy::cast_precision_loss, reason = "a rate, not a count")]
                    let pause = Duration::from_secs_f64(piece as f64 / f64::from(bytes_per_second.max(1)));
                    self.forward(usize::try_from(piece).unwrap_or(usize::MAX), pause).await?;
                }
                _ => self.forward(usize::MAX, Duration::ZERO).await?,
            }
        }
    }

    /// Waits until the fault is another one.
    async fn wait(&mut self) -> Result<(), Cut> {
        self.plan.changed().await.map_err(|_| Cut)
    }

    /// Sends FIN, once.
    async fn finish(&mut self) -> Result<(), Cut> {
        if !self.finished {
            self.finished = true;
            self.to.shutdown().await.map_err(|_| Cut)?;
        }
        Ok(())
    }

    /// Reads something and throws it away, with whatever waits.
    async fn discard(&mut self) -> Result<(), Cut> {
        self.pending.clear();
        if self.ended {
            return self.wait().await;
        }
        self.read(None).await?;
        self.pending.clear();
        Ok(())
    }

    /// Reads something, which may go on after `delay`. Forwards nothing.
    async fn read(&mut self, delay: Option<Duration>) -> Result<(), Cut> {
        let mut chunk = vec![0; CHUNK_BYTES];
        tokio::select! {
            biased;
            changed = self.plan.changed() => changed.map_err(|_| Cut),
            read = self.from.read(&mut chunk) => {
                let read = read.map_err(|_| Cut)?;
                self.ended = read == 0;
                chunk.truncate(read);
                self.pending = chunk;
                if let Some(delay) = delay {
                    self.due = Instant::now() + delay;
                }
                Ok(())
            }
        }
    }

    /// Forwards what waits, up to `limit` bytes, and lets `pause` pass after that; reads if nothing waits.
    async fn forward(&mut self, limit: usize, pause: Duration) -> Result<(), Cut> {
        if self.pending.is_empty() {
            return if self.ended { self.finish().await } else { self.read(None).await };
        }
        if pause > Duration::ZERO && !self.until_due().await? {
            return Ok(());
        }
        let limit = limit.min(self.pending.len());
        tokio::select! {
            biased;
            changed = self.plan.changed() => changed.map_err(|_| Cut),
            written = self.to.write(&self.pending[..limit]) => {
                let written = written.map_err(|_| Cut)?;
                self.pending.drain(..written);
                self.forwarded += written as u64;
                self.counter.fetch_add(written as u64, Ordering::SeqCst);
                self.due = Instant::now() + pause;
                Ok(())
            }
        }
    }

    /// Forwards each chunk `delay` after it was read.
    async fn forward_later(&mut self, delay: Duration) -> Result<(), Cut> {
        if self.pending.is_empty() && !self.ended {
            return self.read(Some(delay)).await;
        }
        if self.pending.is_empty() || self.until_due().await? {
            return self.forward(usize::MAX, Duration::ZERO).await;
        }
        Ok(())
    }

    /// Waits until the next piece may go; `false` if the fault has changed before.
    async fn until_due(&mut self) -> Result<bool, Cut> {
        tokio::select! {
            biased;
            changed = self.plan.changed() => changed.map_err(|_| Cut).map(|()| false),
            () = sleep_until(self.due) => Ok(true),
        }
    }
}
