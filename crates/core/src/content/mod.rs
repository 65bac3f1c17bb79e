//! From Markdown to safe HTML, at write: rendered by one library, sanitised by another.
//!
//! Between the two, [`balance`] brings the HTML into a form that a parser of real-world HTML
//! takes in time proportional to its length, whatever somebody wrote to make it slow. What is
//! safe is said in [`sanitise`] alone.

use std::sync::Arc;

use comrak::{Arena, Options};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::posts::{Content, Markdown};

mod balance;
mod plain;
mod sanitise;
#[cfg(test)]
mod tests;

/// Names what made a body, so that bodies of older makers can be made anew: the versions of the
/// renderer and of the sanitiser, and the revision of the policy in this module. A test compares
/// the versions with those that are compiled in.
pub const RENDERER: &str = "comrak-0.59.0+ammonia-4.2.4+policy-2";

/// Renders and sanitises. Costs CPU in proportion to the text: requests use a [`Renderer`].
pub fn render(markdown: Markdown) -> Content {
    let arena = Arena::new();
    let options = options();
    let root = comrak::parse_document(&arena, markdown.as_str(), &options);
    let mut limited = Limited { html: String::new() };
    let html = match comrak::format_html(root, &options, &mut limited) {
        Ok(()) => limited.html,
        Err(std::fmt::Error) => as_written(markdown.as_str()),
    };
    let html = sanitise::clean(&balance::balance(&html));
    Content { html, renderer: RENDERER, summary: plain::summary(root), words: plain::count_words(root), markdown }
}

/// The most HTML that may come out of a text, in bytes. Markdown can ask for far more than it is
/// long: a thousand references to one footnote, or a table of many columns and empty rows.
const MAX_HTML_BYTES: usize = 16 * 1024 * 1024;

/// Takes no more than [`MAX_HTML_BYTES`].
struct Limited {
    html: String,
}

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.html.len() + text.len() > MAX_HTML_BYTES {
            return Err(std::fmt::Error);
        }
        self.html.push_str(text);
        Ok(())
    }
}

/// A text that cannot be rendered is shown as it was written.
fn as_written(markdown: &str) -> String {
    let escaped = markdown.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<pre>{escaped}</pre>")
}

/// CommonMark with what GitHub adds: tables, strikethrough, bare links, task lists and footnotes;
/// and an id on every heading. Raw HTML passes here: the sanitiser comes after. Not GitHub's
/// alerts (`[!NOTE]`): looking for them costs the square of the number of `>` in a row.
fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.strikethrough = true;
    options.extension.autolink = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.header_id_prefix = Some(String::new());
    options.render.r#unsafe = true;
    options
}

/// Renders where it does not hold up the runtime: short texts at once, long ones on a thread of
/// their own, a few at a time.
#[derive(Debug, Clone)]
pub struct Renderer {
    places: Arc<Semaphore>,
}

impl Renderer {
    /// Texts up to this length, in bytes, take less time than handing them to another thread is worth.
    pub const SHORT_BYTES: usize = 4 * 1024;

    /// A renderer that works on at most this many long texts at a time.
    pub fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)) }
    }

    /// Renders `markdown`.
    ///
    /// # Errors
    /// `DeadlineExceeded` when there is no place before the deadline.
    pub async fn render(&self, ctx: &Context, markdown: Markdown) -> Result<Content> {
        if markdown.as_str().len() <= Self::SHORT_BYTES {
            return Ok(render(markdown));
        }
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout_at(ctx.deadline.instant().into(), place)
            .await
            .map_err(|_| Error::refused(Code::DeadlineExceeded, "There was no time left to render the text."))?
            .map_err(Error::internal)?;
        let rendered = tokio::task::spawn_blocking(move || {
            let content = render(markdown);
            drop(place);
            content
        });
        rendered.await.map_err(Error::internal)
    }
}

impl Default for Renderer {
    /// Two long texts at a time: other requests keep the other processors.
    fn default() -> Self {
        Self::new(2)
    }
}
