//! From Markdown to safe HTML: rendered by a library, sanitised by a library, at write.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::posts::{Content, Markdown};

/// Names the renderer and sanitiser that made a body, so that old ones can be made anew.
pub const RENDERER: &str = "comrak-0.59+ammonia-4.2";

/// Renders and sanitises. Costs CPU in proportion to the text: see [`crate::posts::PostService`]
/// for where it runs.
pub fn render(markdown: Markdown) -> Content {
    let options = comrak::Options::default();
    let html = ammonia::clean(&comrak::markdown_to_html(markdown.as_str(), &options));
    Content { markdown, html, renderer: RENDERER, summary: String::new(), words: 0 }
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
