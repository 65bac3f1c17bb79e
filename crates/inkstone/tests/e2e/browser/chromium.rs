//! A real browser, driven over its own protocol (Chrome DevTools, by a pipe): what it is shown, and
//! everything that it does of its own accord.
//!
//! No request leaves the process: each one is paused, noted, and answered here or refused.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything may take before the test gives up: generous, since it is no measurement.
const PATIENCE: Duration = Duration::from_mins(2);
/// The name of our own scripts. All others are somebody's who should have none.
const OURS: &str = "inkstone-test";

/// Something that a page did.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deed {
    /// A script was compiled, to run or because it was wrong.
    Script(String),
    /// `alert`, `confirm` or `prompt`.
    Dialog(String),
    /// Something was written on the console, by script.
    Console(String),
    /// The browser refused something because of a content security policy.
    Violation(String),
    /// A frame was put into the page.
    Frame,
    /// The page wanted to go elsewhere, or to open a window.
    Navigation(String),
    /// Something was asked for: as what, and where.
    Request(String, String),
}

/// A browser with one page.
pub(super) struct Chromium {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// What is answered here, by address: content type and body.
    pub(super) documents: HashMap<String, (String, String)>,
    /// Where requests may really go.
    pub(super) let_through: Option<String>,
    deeds: Vec<Deed>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

impl Chromium {
    pub(super) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The protocol comes in by descriptor 3 and goes out by 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            messages,
            session: None,
            last_id: 0,
            documents: HashMap::new(),
            let_through: None,
            deeds: Vec::new(),
            loaded: false,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Debugger", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Fetch.enable", json!({"patterns": [{"urlPattern": "*"}]}));
        browser
    }

    /// Goes to an address, and waits until everything there is loaded. Forgets what was before.
    pub(super) fn open(&mut self, url: &str) {
        self.loaded = false;
        self.deeds.clear();
        // What the last page still does comes before this; and an address that differs in its
        // fragment only would be no new page.
        self.call("Page.navigate", json!({"url": "about:blank"}));
        self.wait_until_loaded();
        self.deeds.clear();
        self.loaded = false;
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
        self.wait_until_loaded();
    }

    fn wait_until_loaded(&mut self) {
        while !self.loaded {
            let message = self.receive();
            self.note(&message);
        }
    }

    /// Runs `script`, the body of an async function, and gives what it returns; `None` if the page
    /// went away meanwhile.
    pub(super) fn run(&mut self, script: &str) -> Option<Value> {
        let expression = format!("(async () => {{ {script} }})()\n//# sourceURL={OURS}");
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true
        });
        let done = self.try_call("Runtime.evaluate", parameters).ok()?;
        assert!(done.get("exceptionDetails").is_none(), "{done}");
        Some(done["result"]["value"].clone())
    }

    /// What the page did since it was opened, without the request for the page itself.
    pub(super) fn deeds(&mut self) -> Vec<Deed> {
        // An answer to this means that what happened before has been told.
        let _ = self.try_call("Runtime.evaluate", json!({"expression": format!("0\n//# sourceURL={OURS}")}));
        std::mem::take(&mut self.deeds)
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        let id = self.send(method, parameters);
        loop {
            let mut message = self.receive();
            if message["id"] == id {
                return match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].take()),
                };
            }
            self.note(&message);
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser runs: ./test installs chromium");
        self.last_id
    }

    fn receive(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("the browser answers: ./test installs chromium")
    }

    /// Notes what happened, and answers what waits for an answer.
    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let deed = match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => {
                self.loaded = true;
                return;
            }
            "Fetch.requestPaused" => match self.answer(parameters) {
                Some(deed) => deed,
                None => return,
            },
            "Page.javascriptDialogOpening" => {
                self.send("Page.handleJavaScriptDialog", json!({"accept": true}));
                Deed::Dialog(text(&parameters["message"]))
            }
            "Debugger.scriptParsed" | "Debugger.scriptFailedToParse" if parameters["url"] != OURS => {
                Deed::Script(text(&parameters["url"]))
            }
            "Runtime.consoleAPICalled" => Deed::Console(parameters["args"].to_string()),
            "Log.entryAdded" if parameters["entry"]["source"] == "security" => {
                Deed::Violation(text(&parameters["entry"]["text"]))
            }
            "Page.frameAttached" => Deed::Frame,
            "Page.frameRequestedNavigation" | "Page.windowOpen" => Deed::Navigation(text(&parameters["url"])),
            _ => return,
        };
        self.deeds.push(deed);
    }

    fn answer(&mut self, paused: &Value) -> Option<Deed> {
        let (id, url) = (paused["requestId"].clone(), paused["request"]["url"].as_str().unwrap().to_owned());
        let kind = paused["resourceType"].as_str().unwrap_or_default().to_owned();
        let address = url.split('#').next().unwrap_or_default();
        if let Some((content_type, body)) = self.documents.get(address) {
            let headers = json!([{"name": "content-type", "value": content_type}]);
            let body = STANDARD.encode(body);
            self.send(
                "Fetch.fulfillRequest",
                json!({"requestId": id, "responseCode": 200, "responseHeaders": headers, "body": body}),
            );
            return None;
        }
        if self.let_through.as_ref().is_some_and(|origin| url.starts_with(origin.as_str())) {
            self.send("Fetch.continueRequest", json!({"requestId": id}));
            return None;
        }
        self.send("Fetch.failRequest", json!({"requestId": id, "errorReason": "AddressUnreachable"}));
        Some(Deed::Request(kind, url))
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.session = None;
        self.send("Browser.close", json!({}));
        // Its helpers end with it; the profile is removed after that.
        while self.messages.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
