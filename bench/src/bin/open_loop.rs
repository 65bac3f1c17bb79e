//! Sends requests at a given rate, whatever becomes of them, and counts what is answered in time.
//!
//! `open_loop ADDRESS RATE SECONDS CONNECTIONS FILE`: the file holds whole HTTP/1.1 requests with a
//! zero byte after each; they are sent in turn. With a rate of 0 each connection sends as fast as it
//! is answered, which measures the capacity. Writes one JSON object.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// An answer after this long is of no use to anybody.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of one request.
#[derive(Clone, Copy)]
struct Outcome {
    status: u16,
    took: Duration,
}

type Job = (Vec<u8>, Instant);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate, seconds, connections, file] = &arguments[..] else {
        eprintln!("open_loop ADDRESS RATE SECONDS CONNECTIONS FILE");
        std::process::exit(2);
    };
    let rate: f64 = rate.parse().expect("a rate");
    let length = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let connections: usize = connections.parse().expect("a number of connections");
    let requests = std::fs::read(file).expect("a file of requests");
    let requests: Vec<Vec<u8>> =
        requests.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect();

    let (free_again, mut free) = mpsc::unbounded_channel::<usize>();
    let (outcomes, mut ended) = mpsc::unbounded_channel::<Outcome>();
    let mut workers = Vec::new();
    for number in 0..connections {
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        let (address, free_again, outcomes) = (address.clone(), free_again.clone(), outcomes.clone());
        tokio::spawn(async move {
            let mut stream = None;
            let _ = free_again.send(number);
            while let Some((request, due)) = waiting.recv().await {
                let status = ask(&mut stream, &address, &request).await.unwrap_or(0);
                if status == 0 {
                    stream = None;
                }
                let _ = outcomes.send(Outcome { status, took: due.elapsed() });
                let _ = free_again.send(number);
            }
        });
        workers.push(jobs);
    }
    drop(outcomes);

    let (began, mut sent, mut unsent) = (Instant::now(), 0_u64, 0_u64);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while began.elapsed() < length {
        let due = if rate > 0.0 {
            tick.tick().await;
            (began.elapsed().as_secs_f64() * rate) as u64
        } else {
            u64::MAX
        };
        while sent + unsent < due {
            let number = if rate > 0.0 { free.try_recv().ok() } else { free.recv().await };
            let request = &requests[((sent + unsent) % requests.len() as u64) as usize];
            match number {
                Some(number) => {
                    let _ = workers[number].send((request.clone(), Instant::now()));
                    sent += 1;
                }
                // Nobody is free to send it: all wait for answers.
                None => unsent += 1,
            }
            if rate == 0.0 && began.elapsed() >= length {
                break;
            }
        }
    }
    let took = began.elapsed().as_secs_f64();
    drop(workers);
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE * 2, async {
        while let Some(outcome) = ended.recv().await {
            all.push(outcome);
        }
    })
    .await;
    report(&all, sent, unsent, took);
}

/// Sends one request and reads its answer to the end; the status.
async fn ask(stream: &mut Option<TcpStream>, address: &str, request: &[u8]) -> std::io::Result<u16> {
    if stream.is_none() {
        let made = TcpStream::connect(address).await?;
        made.set_nodelay(true)?;
        *stream = Some(made);
    }
    let Some(connection) = stream.as_mut() else { return Ok(0) };
    connection.write_all(request).await?;
    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
    loop {
        let read = connection.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(0);
        }
        filled += read;
        let Some(end) = buffer[..filled].windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        let whole = end + 4 + length;
        if buffer.len() < whole {
            buffer.resize(whole, 0);
        }
        if filled < whole {
            connection.read_exact(&mut buffer[filled..whole]).await?;
        }
        return Ok(status);
    }
}

fn report(all: &[Outcome], sent: u64, unsent: u64, seconds: f64) {
    let is_success = |outcome: &&Outcome| (200..400).contains(&outcome.status);
    let mut good: Vec<Duration> =
        all.iter().filter(is_success).map(|outcome| outcome.took).filter(|took| *took <= PATIENCE).collect();
    good.sort_unstable();
    let late = all.iter().filter(is_success).count() - good.len();
    let refused = all.iter().filter(|outcome| outcome.status == 503).count();
    let other = all.len() - good.len() - late - refused;
    let at = |percent: usize| {
        good.get((good.len() * percent / 100).min(good.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64)
    };
    println!(
        r#"{{"per_second": {:.0}, "good": {}, "late": {late}, "refused": {refused}, "other": {other}, "unsent": {unsent}, "sent": {sent}, "p50_ms": {:.1}, "p99_ms": {:.1}}}"#,
        good.len() as f64 / seconds,
        good.len(),
        at(50) * 1000.0,
        at(99) * 1000.0,
    );
}
