//! Battery row S6: what was written to harm a reader is shown in a real browser, and nothing of it
//! runs, loads or goes anywhere. And the program's own pages do only what they are there for.

mod chromium;
mod vectors;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use inkstone_testkit::{Client, Inkstone};
use serde_json::json;

use crate::{naughty, start};
use chromium::{Chromium, Deed};

/// Where the page of the posts is, for the browser.
const PAGE: &str = "https://blog.example/posts";
/// How many posts a page shows. When something is wrong on it, each is shown alone.
const POSTS: usize = 40;
/// Elements that no post may have.
const BANNED: &[&str] = &[
    "applet",
    "area",
    "audio",
    "base",
    "body",
    "button",
    "canvas",
    "dialog",
    "embed",
    "fencedframe",
    "font",
    "form",
    "frame",
    "frameset",
    "head",
    "html",
    "iframe",
    "image",
    "isindex",
    "link",
    "listing",
    "map",
    "marquee",
    "math",
    "meta",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "option",
    "picture",
    "plaintext",
    "portal",
    "script",
    "select",
    "slot",
    "source",
    "style",
    "svg",
    "template",
    "textarea",
    "title",
    "track",
    "video",
    "x",
    "xmp",
];

/// Shows pieces of HTML on one page, does what readers do, and says what happened that should not.
fn wrongs(browser: &mut Chromium, pieces: &[&str]) -> BTreeSet<String> {
    let articles = pieces.iter().fold(String::new(), |mut all, piece| {
        let _ = writeln!(all, "<article>{piece}</article>");
        all
    });
    let page = format!("<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>Blog</title>{articles}");
    browser.documents.insert(PAGE.to_owned(), ("text/html".to_owned(), page));
    browser.open(PAGE);
    let script = format!("const BANNED = {};\n{}", json!(BANNED), include_str!("browser/provoke.js"));
    let Some(seen) = browser.run(&script) else {
        return BTreeSet::from(["the page went away".to_owned()]);
    };
    let mut wrongs: BTreeSet<String> = strings(&seen["found"]).into_iter().collect();
    if seen["posts"] != pieces.len() {
        wrongs.insert(format!("{} posts where {} should be", seen["posts"], pieces.len()));
    }
    if seen["shadowed"] != "undefined" {
        wrongs.insert("an element shadows a variable of the page".to_owned());
    }
    let images = strings(&seen["images"]);
    let deeds = browser.deeds();
    // Images may come from anywhere: from the addresses of the images, that is.
    let allowed = |deed: &Deed| matches!(deed, Deed::Request(kind, url) if kind == "Image" && images.contains(url));
    wrongs.extend(deeds.iter().filter(|deed| !allowed(deed)).map(|deed| format!("{deed:?}")));
    wrongs
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The HTML that the program makes of each text, by way of a published post.
async fn rendered(writer: &Client, texts: &[String]) -> Vec<(String, String)> {
    let mut rendered = Vec::new();
    for text in texts {
        let body = json!({"title": "Shown", "content": {"markdown": text}, "status": "published"});
        let made = writer.post("/api/v2/posts", &body).await;
        if made.status == 422 {
            assert_eq!(made.faults(), ["/content/markdown bad-character"], "{text:?}");
            continue;
        }
        let path = made.expect(201).header("location").unwrap().to_owned();
        let read = writer.anonymous().get(&path).await.expect(200).json();
        rendered.push((text.clone(), read["content"]["html"].as_str().unwrap().to_owned()));
    }
    rendered
}

/// Shows everything; where something is wrong, says with which text.
fn assert_harmless(browser: &mut Chromium, posts: &[(String, String)]) {
    for page in posts.chunks(POSTS) {
        let pieces: Vec<&str> = page.iter().map(|(_, html)| html.as_str()).collect();
        let together = wrongs(browser, &pieces);
        if together.is_empty() {
            continue;
        }
        for (text, html) in page {
            let alone = wrongs(browser, &[html]);
            assert!(alone.is_empty(), "{text:?} became {html:?}, and that did: {alone:#?}");
        }
        panic!("together they did what none does alone: {together:#?}\n{pieces:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_sees_what_runs() {
    let caught = tokio::task::spawn_blocking(|| {
        let mut browser = Chromium::start();
        assert_eq!(
            wrongs(&mut browser, &["<p>Nothing <img src=/x.png> but <a href=/y>words</a>.</p>"]),
            BTreeSet::new()
        );
        let quiet: Vec<_> = vectors::LIVE.iter().filter(|html| wrongs(&mut browser, &[html]).is_empty()).collect();
        assert!(quiet.is_empty(), "these do nothing, so that it proves nothing when they do nothing: {quiet:#?}");
        // One for each way of being caught.
        let did = |browser: &mut Chromium, html: &str, deed: &str| {
            let wrongs = wrongs(browser, &[html]);
            assert!(wrongs.iter().any(|wrong| wrong.starts_with(deed)), "{html}: {wrongs:?}");
        };
        did(&mut browser, "<script>alert(1)</script>", "Dialog(\"1\")");
        did(&mut browser, "<img src=x onerror=alert(1)>", "Dialog(\"1\")");
        did(&mut browser, "<a href=javascript:alert(1)>x</a>", "Dialog(\"1\")");
        did(&mut browser, "<script>console.log(1)</script>", "Console");
        did(&mut browser, "<p onclick='not a script'>x</p>", "Script");
        did(&mut browser, "<iframe srcdoc=x></iframe>", "Frame");
        did(&mut browser, "<iframe src=https://evil.example/></iframe>", "Navigation");
        did(&mut browser, "<script src=https://evil.example/></script>", "Request(\"Script\"");
        did(&mut browser, "<p style='background:url(https://evil.example/)'>x</p>", "Request(\"Image\"");
        did(&mut browser, "<a id=shadowed>x</a>", "an element shadows");
    });
    caught.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_through_markdown_do_nothing_in_a_browser() {
    let server = start();
    let author = server.with_token("ada", "author");
    let attacks: Vec<&str> = vectors::LIVE.iter().chain(vectors::MARKDOWN).copied().collect();
    assert!(attacks.len() >= 150 && attacks.iter().collect::<BTreeSet<_>>().len() == attacks.len());
    // Each by itself, and within other text: what is around a piece of HTML changes how it is read.
    let around = ["Some *words* {} and more.", "- {}\n\n  <b>", "> <div>{}", "<table><tr><td>{}", "<a title=\"{}\">"];
    let within = attacks.iter().zip(around.iter().cycle()).map(|(attack, around)| around.replace("{}", attack));
    let texts: Vec<String> = attacks.iter().map(|attack| (*attack).to_owned()).chain(within).collect();
    let posts = rendered(&author, &texts).await;
    assert!(posts.len() > texts.len() - 10, "only {} of {} were taken", posts.len(), texts.len());
    tokio::task::spawn_blocking(move || assert_harmless(&mut Chromium::start(), &posts)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn naughty_strings_do_nothing_in_a_browser() {
    let server = start();
    let author = server.with_token("ada", "author");
    let posts = rendered(&author, &naughty::strings()).await;
    assert!(posts.len() > 450, "only {} were taken", posts.len());
    tokio::task::spawn_blocking(move || assert_harmless(&mut Chromium::start(), &posts)).await.unwrap();
}

/// Opens an address of the server itself, and says what it did there, violations of its own policy included.
fn visit(browser: &mut Chromium, server: &Inkstone, address: &str) -> Vec<Deed> {
    browser.let_through = Some(format!("{}/", server.base()));
    browser.open(&format!("{}{address}", server.base()));
    browser.deeds()
}

/// The scripts of the program itself, and that the API reference names its version on the console.
fn is_own_script(server: &Inkstone, deed: &Deed) -> bool {
    let own = ["/docs/scalar.js", "/docs/start.js", "/pages/setup.js"];
    match deed {
        Deed::Script(url) => own.iter().any(|path| *url == format!("{}{path}", server.base())),
        Deed::Console(text) => text.contains("@scalar/api-reference@"),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_data_to_a_browser_whatever_stands_in_them() {
    let server = start();
    let author = server.with_token("ada", "author");
    let attack = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let post = json!({
        "title": attack, "excerpt": attack, "tags": ["<svg/onload=alert(3)>"], "content": {"markdown": attack},
        "status": "published"
    });
    let path = author.post("/api/v2/posts", &post).await.expect(201).header("location").unwrap().to_owned();
    let tag = author.get("/api/v2/me").await.expect(200).etag().to_owned();
    author.patch("/api/v2/me", &tag, &json!({"display_name": attack, "bio": attack})).await.expect(200);
    let seen = tokio::task::spawn_blocking(move || {
        let mut browser = Chromium::start();
        let hostile = "<script>alert(1)</script>";
        for address in [
            path,
            "/api/v2/posts?include=content,author,tags".to_owned(),
            "/api/v1/posts".to_owned(),
            "/api/v2/users/by-handle/ada".to_owned(),
            "/api/v2/tags".to_owned(),
            "/api/v2/openapi.json".to_owned(),
            // Problems, which repeat what was asked for.
            format!("/{hostile}"),
            format!("/api/v2/posts/{hostile}"),
            format!("/api/v2/posts?{hostile}={hostile}"),
            format!("/api/v2/posts?cursor={hostile}"),
            format!("/api/{hostile}/posts"),
            format!("/problems/{hostile}"),
            "/api/v2/posts#<img src=x onerror=alert(1)>".to_owned(),
        ] {
            // A browser asks for an icon of whatever it shows.
            let deeds = visit(&mut browser, &server, &address);
            assert_eq!(deeds, [], "{address}");
            let shown = browser
                .run("return [document.contentType, document.querySelectorAll('img, script, svg, a').length]")
                .unwrap();
            assert_eq!(shown[1], 0, "{address}: {shown}");
            let kind = shown[0].as_str().unwrap();
            assert!(kind == "application/json" || kind == "application/problem+json", "{address}: {kind}");
        }
    });
    seen.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_for_people_do_only_what_they_are_there_for() {
    let server = start();
    let seen = tokio::task::spawn_blocking(move || {
        let mut browser = Chromium::start();
        let hostile = "?x=<script>alert(1)</script>#<img src=x onerror=alert(1)>";
        for page in ["/", "/problems", "/problems/invalid", "/setup", "/docs"] {
            for address in [page.to_owned(), format!("{page}{hostile}")] {
                let deeds = visit(&mut browser, &server, &address);
                let others: Vec<_> = deeds.iter().filter(|deed| !is_own_script(&server, deed)).collect();
                assert!(others.is_empty(), "{address}: {others:?}");
                assert_eq!(browser.run("return document.querySelectorAll('[onerror]').length").unwrap(), 0);
            }
            // The policy is at work: whoever got something into the page would still not run it.
            browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=alert(1)>');");
            let events = "await new Promise((done) => { const image = document.querySelector('img[onerror]');
                if (image.complete) done(); image.onload = image.onerror; image.addEventListener('error', done); });";
            browser.run(events);
            let deeds = browser.deeds();
            assert!(deeds.iter().any(|deed| matches!(deed, Deed::Violation(_))), "{page}: {deeds:?}");
            assert!(!deeds.iter().any(|deed| matches!(deed, Deed::Dialog(_))), "{page}: {deeds:?}");
        }
        reference_is_drawn(&mut browser, &server);
        refusals_are_shown_as_text(&mut browser, &server);
    });
    seen.await.unwrap();
}

/// The API reference draws itself out of what the server gives it, and asks nobody else.
fn reference_is_drawn(browser: &mut Chromium, server: &Inkstone) {
    visit(browser, server, "/docs");
    let drawn = browser.run(
        "const deadline = performance.now() + 30000;
         while (!document.body.innerText.includes('by-slug') && performance.now() < deadline) {
             await new Promise((done) => setTimeout(done, 50));
         }
         return document.body.innerText;",
    );
    assert!(drawn.unwrap().as_str().unwrap().contains("by-slug"), "the reference shows the operations");
    let deeds = browser.deeds();
    let others: Vec<_> = deeds.iter().filter(|deed| !is_own_script(server, deed)).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// The set-up page repeats what the server says of what was typed.
fn refusals_are_shown_as_text(browser: &mut Chromium, server: &Inkstone) {
    visit(browser, server, "/setup#<img src=x onerror=alert(1)>");
    let said = browser.run(
        "const form = document.getElementById('setup');
         for (const field of form.querySelectorAll('input')) field.value = '<img src=x onerror=alert(1)>';
         form.noValidate = true;
         form.requestSubmit();
         const answer = document.getElementById('answer');
         await new Promise((done) => new MutationObserver(done).observe(answer, { childList: true }));
         return [answer.textContent.length, answer.childElementCount];",
    );
    let said = said.unwrap();
    assert!(said[0].as_u64() > Some(0) && said[1] == 0, "{said}");
    let deeds = browser.deeds();
    assert!(deeds.iter().all(|deed| is_own_script(server, deed)), "{deeds:?}");
}
