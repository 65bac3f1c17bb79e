//! From Markdown to safe HTML: rendered by a library, sanitised by a library, at write.

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
