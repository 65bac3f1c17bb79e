//! Many clients at once, who write down everything that they were told.
//!
//! Each client creates, reads, changes and deletes posts of everybody, one request after the
//! other, over real sockets and through whatever faults the test injects meanwhile. What comes of
//! it is a history for [`crate::history::check`]. A post's title is its content there; the first
//! word of the title is the name of the thing, chosen before the post is made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Answer, Request};
use crate::figures::Heard;
use crate::history::{Operation, Outcome, Record, Row, Seen};
use crate::wait::{PATIENCE, now};
use crate::{Client, Dice};

/// How many of the newest posts are read and changed: few enough that clients meet.
const BUSY: usize = 40;

/// How long a client that could not get through waits before it tries something else.
const BACK_OFF: Duration = Duration::from_millis(10);

/// What a fleet does.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// From which all of its chances follow. What it meets depends on time, too.
    pub seed: u64,
    /// How long each client waits for an answer before it gives up.
    pub deadline: Duration,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self { seed: 1, deadline: Duration::from_secs(10) }
    }
}

/// Clients at work.
pub struct Fleet {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What a fleet has written down.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Every request.
    pub records: Vec<Record>,
    /// Which thing each post is, by id, as far as anybody was told.
    pub things: BTreeMap<i64, String>,
    /// Every answer, and every question that got none, for [`crate::Figures`].
    pub heard: Vec<Heard>,
}

struct Shared {
    began: Instant,
    deadline: Duration,
    stopping: AtomicBool,
    /// How many requests have been acknowledged.
    acked: watch::Sender<usize>,
    /// How many requests have ended, in whatever way.
    ended: watch::Sender<usize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Log,
    posts: Vec<Post>,
}

/// A post as the client knows it who heard of it last.
#[derive(Debug, Clone)]
struct Post {
    thing: String,
    id: i64,
    revision: u64,
    tag: String,
}

/// What an answer, or none, means.
enum Told {
    Acked(Answer),
    Refused,
    Unknown,
}

impl Fleet {
    /// Starts one client after the other, each of whom may publish, change and delete everybody's
    /// posts: one worker for each.
    pub fn start(clients: Vec<Client>, options: FleetOptions) -> Self {
        println!("a fleet of {} clients with {options:?}", clients.len());
        let FleetOptions { seed, deadline } = options;
        let (acked, ended) = (watch::Sender::new(0), watch::Sender::new(0));
        let (stopping, state) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { began: now(), deadline, stopping, acked, ended, state });
        let workers = clients.into_iter().enumerate().map(|(number, client)| {
            let dice = Dice::new(seed ^ ((number as u64) << 32));
            let worker = Worker { number, client, dice, shared: shared.clone(), writes: 0 };
            tokio::spawn(worker.run())
        });
        Self { workers: workers.collect(), shared }
    }

    /// Waits until so many more requests have been acknowledged.
    ///
    /// # Panics
    /// When that does not happen within [`PATIENCE`].
    pub async fn acknowledged(&self, more: usize) {
        grown(&self.shared.acked, more, "acknowledged").await;
    }

    /// Waits until so many more requests have ended, be it with an error.
    ///
    /// # Panics
    /// When that does not happen within [`PATIENCE`].
    pub async fn ended(&self, more: usize) {
        grown(&self.shared.ended, more, "ended").await;
    }

    /// How long it has been at work: what the times in its [`Log`] count from.
    pub fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Lets every client finish what it is at, and gives what they wrote down.
    ///
    /// # Panics
    /// When a client was told what must not be: an answer against [`crate::laws`], or that it may
    /// not do what it may.
    pub async fn stop(self) -> Log {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for worker in self.workers {
            if let Err(error) = worker.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        std::mem::take(&mut self.shared.state().log)
    }
}

async fn grown(counter: &watch::Sender<usize>, more: usize, what: &str) {
    let mut count = counter.subscribe();
    let enough = *count.borrow_and_update() + more;
    let reached = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= enough)).await.is_ok();
    assert!(reached, "of the fleet's requests no more than {} of {enough} have {what}", *counter.borrow());
}

impl Log {
    /// Every post that the server lists, for [`crate::history::Ending`].
    pub async fn rows(&mut self, client: &Client) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut path = "/api/v2/posts?limit=100".to_owned();
        loop {
            let page = client.get(&path).await.expect(200).json();
            for post in page["data"].as_array().expect("a list") {
                let (thing, version, content) = (thing_of(post), revision_of(post), title_of(post));
                self.things.insert(id_of(post), thing.clone());
                rows.push(Row { thing, version, content });
            }
            let Some(next) = page["next"].as_str() else { return rows };
            path = format!("/api/v2/posts?limit=100&cursor={next}");
        }
    }

    /// How many requests ended in which way: acknowledged, refused, unknown.
    pub fn outcomes(&self) -> (usize, usize, usize) {
        let count = |of: fn(&Outcome) -> bool| self.records.iter().filter(|record| of(&record.outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Acked(_))),
            count(|outcome| *outcome == Outcome::Refused),
            count(|outcome| *outcome == Outcome::Unknown),
        )
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// One client.
struct Worker {
    number: usize,
    client: Client,
    dice: Dice,
    shared: Arc<Shared>,
    /// How much it has written; makes every content another.
    writes: usize,
}

impl Worker {
    async fn run(mut self) {
        while !self.shared.is_stopping() {
            let chance = self.dice.below(100);
            let known = {
                let state = self.shared.state();
                let busy = &state.posts[state.posts.len().saturating_sub(BUSY)..];
                self.dice.pick(busy).cloned()
            };
            let done = match known {
                None => self.create().await,
                Some(_) if chance < 20 => self.create().await,
                Some(post) if chance < 60 => self.read(&post).await,
                Some(post) if chance < 92 => self.update(&post).await,
                Some(post) => self.delete(&post).await,
            };
            if !done {
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }

    /// Makes a post. Most clients have a key, and ask again until they know; some have none.
    async fn create(&mut self) -> bool {
        self.writes += 1;
        let thing = format!("f{}-{}", self.number, self.writes);
        let content = self.content(&thing);
        let body = json!({"title": content, "content": {"markdown": "Must not be lost."}, "status": "published"});
        let key = self.dice.percent(70).then(|| format!("\"{thing}\""));
        let begin = self.shared.began.elapsed();
        let mut told;
        let mut may_be_done = false;
        loop {
            let mut request = self.client.request(Method::POST, "/api/v2/posts").json(&body);
            if let Some(key) = &key {
                request = request.header("idempotency-key", key);
            }
            told = self.ask(request).await;
            // Refused now says nothing of what came of the times before.
            may_be_done |= matches!(told, Told::Unknown);
            let is_settled = matches!(told, Told::Acked(_)) || (matches!(told, Told::Refused) && !may_be_done);
            if key.is_none() || is_settled || self.shared.is_stopping() {
                break;
            }
            tokio::time::sleep(BACK_OFF).await;
        }
        let outcome = match told {
            Told::Acked(answer) => self.seen(&answer),
            Told::Refused if !may_be_done => Outcome::Refused,
            Told::Refused | Told::Unknown => Outcome::Unknown,
        };
        self.note(thing, Operation::Create { content }, begin, outcome)
    }

    /// Reads a post, as whoever it is or as nobody: the answers come from different places.
    async fn read(&mut self, post: &Post) -> bool {
        let begin = self.shared.began.elapsed();
        let client = if self.dice.percent(50) { self.client.anonymous() } else { self.client.clone() };
        let outcome = match self.ask(client.request(Method::GET, &path(post))).await {
            Told::Acked(answer) if answer.status == 200 => self.seen(&answer),
            Told::Acked(_) => {
                self.forget(post);
                Outcome::Acked(Seen::Absent)
            }
            Told::Refused => Outcome::Refused,
            Told::Unknown => Outcome::Unknown,
        };
        self.note(post.thing.clone(), Operation::Read, begin, outcome)
    }

    async fn update(&mut self, post: &Post) -> bool {
        self.writes += 1;
        let content = self.content(&post.thing);
        let begin = self.shared.began.elapsed();
        let request = self.client.request(Method::PATCH, &path(post)).header("if-match", &post.tag);
        let told = self.ask(request.json(&json!({"title": content}))).await;
        let operation = Operation::Update { on: post.revision, content };
        self.changed(post, operation, begin, told).await
    }

    async fn delete(&mut self, post: &Post) -> bool {
        let begin = self.shared.began.elapsed();
        let told = self.ask(self.client.request(Method::DELETE, &path(post)).header("if-match", &post.tag)).await;
        self.changed(post, Operation::Delete { on: post.revision }, begin, told).await
    }

    /// Notes what came of a change; who was refused reads what has changed meanwhile.
    async fn changed(&mut self, post: &Post, operation: Operation, begin: Duration, told: Told) -> bool {
        let outcome = match told {
            Told::Acked(answer) if answer.status == 200 => self.seen(&answer),
            Told::Acked(answer) if answer.status == 204 => {
                self.forget(post);
                Outcome::Acked(Seen::Absent)
            }
            // Not there (any more).
            Told::Acked(_) | Told::Refused => Outcome::Refused,
            Told::Unknown => Outcome::Unknown,
        };
        let refused = outcome == Outcome::Refused;
        let done = self.note(post.thing.clone(), operation, begin, outcome);
        if refused { self.read(post).await } else { done }
    }

    /// Sends a request and says what its answer means.
    async fn ask(&self, request: Request<'_>) -> Told {
        let (begin, is_write) = (self.shared.began.elapsed(), request.is_write());
        let sent = tokio::time::timeout(self.shared.deadline, request.try_send()).await;
        let status = sent.as_ref().ok().and_then(|sent| Some(sent.as_ref().ok()?.status.as_u16()));
        let heard = Heard { begin, end: self.shared.began.elapsed(), is_write, status };
        self.shared.state().log.heard.push(heard);
        self.shared.ended.send_modify(|count| *count += 1);
        let Ok(Ok(answer)) = sent else { return Told::Unknown };
        // Said to be old, since nobody knew better: not an answer to what is there.
        if answer.header("cache-status").is_some_and(|status| status.ends_with("stale-if-error")) {
            return Told::Unknown;
        }
        match answer.status.as_u16() {
            // That it is not there is an answer, too.
            200 | 201 | 204 | 404 | 410 => Told::Acked(answer),
            412 | 429 => Told::Refused,
            503 if ["overloaded", "storage-full"].contains(&answer.problem().as_str()) => Told::Refused,
            400 | 401 | 403 | 422 | 428 => panic!("a client of the fleet was turned away: {answer:?}"),
            // In progress, out of time, or from somebody in between who knows nothing.
            _ => Told::Unknown,
        }
    }

    /// Learns from an answer that shows a post.
    fn seen(&self, answer: &Answer) -> Outcome {
        let shown = answer.json();
        let (thing, id, revision) = (thing_of(&shown), id_of(&shown), revision_of(&shown));
        let tag = answer.etag().to_owned();
        let mut state = self.shared.state();
        let State { log, posts } = &mut *state;
        let known = posts.iter_mut().find(|post| post.id == id);
        match known {
            Some(known) if known.revision < revision => (known.revision, known.tag) = (revision, tag),
            Some(_) => {}
            // Read again after it was deleted: nobody needs to know it.
            None if log.things.contains_key(&id) => {}
            None => {
                log.things.insert(id, thing.clone());
                posts.push(Post { thing, id, revision, tag });
            }
        }
        Outcome::Acked(Seen::Present { version: revision, content: title_of(&shown) })
    }

    fn forget(&self, post: &Post) {
        self.shared.state().posts.retain(|known| known.id != post.id);
    }

    /// Writes down how a request ended. Gives whether anything was learnt.
    fn note(&self, thing: String, operation: Operation, begin: Duration, outcome: Outcome) -> bool {
        let end = self.shared.began.elapsed();
        let acked = matches!(outcome, Outcome::Acked(_));
        let done = outcome != Outcome::Unknown;
        self.shared.state().log.records.push(Record { client: self.number, thing, operation, begin, end, outcome });
        if acked {
            self.shared.acked.send_modify(|count| *count += 1);
        }
        done
    }

    fn content(&self, thing: &str) -> String {
        format!("{thing} by {}-{}", self.number, self.writes)
    }
}

fn path(post: &Post) -> String {
    format!("/api/v2/posts/{}", post.id)
}

fn title_of(post: &Value) -> String {
    post["title"].as_str().expect("a title").to_owned()
}

fn thing_of(post: &Value) -> String {
    title_of(post).split(' ').next().unwrap_or_default().to_owned()
}

fn id_of(post: &Value) -> i64 {
    post["id"].as_i64().expect("an id")
}

fn revision_of(post: &Value) -> u64 {
    post["revision"].as_u64().expect("a revision")
}
